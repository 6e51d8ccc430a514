import type { GuestMemory } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import type { EduDevice } from "@giommu/vfio-linux";
import type { LedgerHost } from "./ledger_host.ts";
import type { DmaReport } from "./report.ts";

const PAGE = 0x1000n;
/** Each access takes the device 100 ms or more. */
const PER_KIND = 2;

/** A page to be looked at, and why. */
interface Sample {
  readonly kind: string;
  readonly iova: bigint;
}

/** Kinds of pages of which a sample is looked at. */
const KINDS = ["first", "last", "read-write", "read-only", "write-only", "changed", "unmapped", "neighbour"] as const;

/**
 * Lets a device read and write through a sample of mappings of every kind, and looks whether it reaches what the guest's
 * table says, and nothing else.
 *
 * @param edu The device.
 * @param host What the host took.
 * @param memory The guest's memory, which is written.
 * @param isWidened Whether what may only be written may be read as well, since the host has no such mappings.
 * @returns What came of it.
 */
export async function checkDma(
  edu: EduDevice,
  host: LedgerHost,
  memory: GuestMemory,
  isWidened: boolean,
): Promise<DmaReport> {
  const all = pagesByKind(host);
  const counts: Record<string, number> = {};
  const wrong: DmaReport["wrong"][number][] = [];
  let checked = 0;
  let refused = 0;
  for (const kind of KINDS) {
    for (const { iova } of sampled(kind, all[kind])) {
      counts[kind] = (counts[kind] ?? 0) + 1;
      for (const access of ["read", "write"] as const) {
        const { isAgreed, isRefused } = await tried(edu, host, memory, iova, access, isWidened);
        checked++;
        if (isRefused) refused++;
        if (!isAgreed) wrong.push({ iova, kind, access });
      }
    }
  }
  const missed = KINDS.filter((kind) => all[kind].length > 0 && counts[kind] === undefined);
  return { checked, agreed: checked - wrong.length, refused, kinds: counts, missed, wrong };
}

function pagesByKind(host: LedgerHost): Record<typeof KINDS[number], bigint[]> {
  const mapped = [...host.mappings()];
  const of = (perm: IommuPerm): bigint[] => mapped.filter((map) => map.perm === perm).map(({ iova }) => iova.start);
  const first = mapped[0]?.iova.start;
  const last = mapped.at(-1)?.iova.last;
  const touched = [...host.history].filter(([page]) => (page & (PAGE - 1n)) === 0n);
  return {
    "first": first === undefined ? [] : [first],
    "last": last === undefined ? [] : [last - PAGE + 1n],
    "read-write": of(IommuPerm.READ_WRITE),
    "read-only": of(IommuPerm.READ),
    "write-only": of(IommuPerm.WRITE),
    "changed": touched.filter(([page, what]) => what === "changed" && host.translate(page)).map(([page]) => page),
    "unmapped": touched.filter(([page]) => host.translate(page) === undefined).map(([page]) => page),
    "neighbour": touched.flatMap(([page]) => [page - PAGE, page + PAGE]).filter((page) =>
      page >= 0n && host.translate(page) !== undefined && !host.history.has(page)
    ),
  };
}

/** The newest of what happened, the ends of what is there. */
function sampled(kind: string, pages: readonly bigint[]): Sample[] {
  const chosen = pages.length <= PER_KIND ? pages : [pages[0] ?? 0n, ...pages.slice(1 - PER_KIND)];
  return chosen.map((iova) => ({ kind, iova }));
}

/** One access, and whether it went as the table says. */
async function tried(
  edu: EduDevice,
  host: LedgerHost,
  memory: GuestMemory,
  iova: bigint,
  access: "read" | "write",
  isWidened: boolean,
): Promise<{ readonly isAgreed: boolean; readonly isRefused: boolean }> {
  const target = host.translate(iova);
  const perm = target?.perm ?? IommuPerm.NONE;
  const before = new Uint8Array(8);
  // Where nothing is mapped there is no page to look at: that the device gets nothing is all that can be seen.
  if (target !== undefined && !memory.read(target.gpa, before)) return { isAgreed: true, isRefused: false };
  const mark = 0x6769_6f6d_0000_0000n | (iova & 0xffff_ffffn) | 1n;
  if (access === "read") {
    if (target !== undefined) memory.write(target.gpa, bytesOf(mark));
    const got = await edu.read(iova);
    if (target !== undefined) memory.write(target.gpa, before);
    const isReadable = (perm & IommuPerm.READ) !== 0 || (isWidened && perm !== IommuPerm.NONE);
    return { isAgreed: got === (isReadable ? mark : undefined), isRefused: got === undefined };
  }
  if (target !== undefined) memory.write(target.gpa, bytesOf(0n));
  await edu.write(iova, mark);
  if (target === undefined) return { isAgreed: true, isRefused: true };
  const after = new Uint8Array(8);
  memory.read(target.gpa, after);
  memory.write(target.gpa, before);
  const arrived = new DataView(after.buffer).getBigUint64(0, true) === mark;
  return { isAgreed: arrived === ((perm & IommuPerm.WRITE) !== 0), isRefused: !arrived };
}

function bytesOf(word: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, word, true);
  return bytes;
}
