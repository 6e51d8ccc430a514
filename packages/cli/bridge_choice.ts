import type { LogHotplug } from "@giommu/qemu-trace";
import type { AttachChoice } from "./options.ts";
import type { Session } from "./session.ts";
import { count, counted } from "./terminal.ts";
import { UsageError } from "./usage_error.ts";

/** The PCI host bridge that the container is attached to. */
export interface BridgeChoice {
  /** Its index. */
  readonly index: number;
  /** What a person should know of the choice; asked for once all was read, as it names the peak. */
  notes(): readonly string[];
}

/** The index of the bridge that a LIOBN belongs to; `undefined` for one of a VIO device. */
export function bridgeOf(liobn: number): number | undefined {
  return liobn >= 0x8000_0000 ? (liobn >>> 8) & 0xff : undefined;
}

/**
 * Chooses the bridge: as asked for, else that of the log's own hotplug, else the first that has something mapped, else the
 * lowest.
 *
 * @param session The input, read up to where the container is attached.
 * @param options What was asked for.
 * @param hotplug The log's own hotplug, where the container is attached at one.
 * @returns The bridge.
 * @throws {UsageError} If the input has no such bridge or table.
 */
export async function chooseBridge(
  session: Session,
  options: Pick<AttachChoice, "phb" | "liobns">,
  hotplug: LogHotplug | undefined,
): Promise<BridgeChoice> {
  const tables = session.machine.tables.filter(({ liobn }) => bridgeOf(liobn) !== undefined);
  const [lowest] = tables;
  if (lowest === undefined) {
    await session.readRest(); // a log without any event says so, which helps more
    throw new UsageError(`${session.name} shows no table of a PCI host bridge there (0x80000000 and up)`);
  }
  const first = tables.find(({ mapped }) => mapped > 0) ?? lowest;
  const index = options.phb ?? bridgeOf(hotplug?.liobns[0] ?? first.liobn) ?? 0;
  const own = tables.filter(({ liobn }) => bridgeOf(liobn) === index);
  if (own.length === 0) {
    const there = [...new Set(tables.map(({ liobn }) => bridgeOf(liobn)))].join(", ");
    throw new UsageError(`--phb: ${session.name} shows no bridge ${index} there; it has ${there}`);
  }
  for (const liobn of options.liobns) {
    if (own.some((table) => table.liobn === liobn)) continue;
    const there = own.map((table) => `0x${table.liobn.toString(16)}`).join(", ");
    throw new UsageError(`--liobn: bridge ${index} has no table 0x${liobn.toString(16)} there; it has ${there}`);
  }
  const mapped = own.reduce((sum, table) => sum + table.mapped, 0);
  return { index, notes: () => mapped > 0 ? [] : [nothingMapped(session, index)] };
}

/** Nothing is mapped there: says when most was. */
function nothingMapped({ machine, stream }: Session, index: number): string {
  const peak = machine.peaks.find((peak) => peak.index === index);
  const when = stream !== undefined
    ? ""
    : peak === undefined || peak.line === 0
    ? "; nothing ever was"
    : `; its peak is ${counted(peak.peak, "page")} at line ${count(peak.line)} (--at ${peak.line})`;
  return `bridge ${index} has nothing mapped there${when}`;
}
