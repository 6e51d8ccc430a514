import type { AddressRange } from "@giommu/core";
import { hex, IommuError } from "@giommu/core";
import type { HostCallName, HostErrno, HostIommuInfo, HostMapAllResult, HostMapping } from "@giommu/vfio-sync";
import { HostError } from "@giommu/vfio-sync";
import { errnoName } from "./_errno.ts";
import { Numbers } from "./_numbers.ts";
import { memoryNumber, PinnedMemory } from "./pinned_memory.ts";

/** Numbers in a record of a batch; a batch begins with one number, which tells how many were done. */
const MAP_RECORD = 5;
const UNMAP_RECORD = 2;
/** No size of a mapping that the library takes, as it has 64 bits. */
const TOO_LARGE = 1n << 64n;

/** What a host's calls answer beside those that there are names for. */
const KNOWN: ReadonlySet<string> = new Set<HostErrno>([
  "EACCES",
  "EAGAIN",
  "EBADF",
  "EBUSY",
  "EEXIST",
  "EFAULT",
  "EINTR",
  "EINVAL",
  "EIO",
  "ENODEV",
  "ENOENT",
  "ENOMEM",
  "ENOSPC",
  "ENOTTY",
  "EOPNOTSUPP",
  "EOVERFLOW",
  "EPERM",
]);

/** Makes the map and unmap calls of a real host: fills a batch, hands it down, and says what was refused. */
export class Calls {
  readonly #info: HostIommuInfo;
  readonly #map: (batch: Uint8Array) => number;
  readonly #unmap: (batch: Uint8Array) => number;
  #batch = new Numbers(1 + MAP_RECORD);

  /** `map` and `unmap` hand a batch to the library. */
  constructor(
    info: HostIommuInfo,
    map: (batch: Uint8Array) => number,
    unmap: (batch: Uint8Array) => number,
  ) {
    this.#info = info;
    this.#map = map;
    this.#unmap = unmap;
  }

  /** See `HostIommu.mapAll`. */
  mapAll(mappings: readonly HostMapping[]): HostMapAllResult {
    // What cannot be given to the kernel at all ends the batch before it.
    let count = 0;
    let refusal: HostError | undefined;
    const length = 1 + mappings.length * MAP_RECORD;
    if (this.#batch.length < length) this.#batch = new Numbers(length);
    for (const mapping of mappings) {
      refusal = this.#add(mapping, count);
      if (refusal !== undefined) break;
      count++;
    }
    if (count > 0) {
      const answer = this.#map(this.#batch.bytes.subarray(0, (1 + count * MAP_RECORD) * 8));
      if (answer < 0) {
        const done = Number(this.#batch.get(0));
        const refused = mappings[done] ?? mappings[0];
        if (refused === undefined) throw new RangeError("Cannot map: there is nothing to map");
        return { done, refusal: this.#refusal(answer, "MAP", refused.iova) };
      }
    }
    return { done: count, ...(refusal !== undefined && { refusal }) };
  }

  /** See `HostIommu.map`. */
  map(mapping: HostMapping): void {
    const { refusal } = this.mapAll([mapping]);
    if (refusal !== undefined) throw refusal;
  }

  /** See `HostIommu.unmap`. `ENOENT` is what stands for "nothing is there", if anything does. */
  unmap(range: AddressRange, isNothing = false): bigint {
    const size = range.last - range.start + 1n;
    if (size >= TOO_LARGE) {
      // The kernel takes no size of 2^64; no mapping lies across the middle of all addresses on any IOMMU known.
      const half = 1n << 63n;
      return this.unmap({ start: 0n, last: half - 1n }, isNothing) +
        this.unmap({ start: half, last: TOO_LARGE - 1n }, isNothing);
    }
    if (range.start < 0n || size < 0n || range.last >= TOO_LARGE) {
      throw this.#refusal(-22, "UNMAP", range);
    }
    const batch = this.#batch;
    batch.set(1, range.start);
    batch.set(2, size);
    const answer = this.#unmap(batch.bytes.subarray(0, (1 + UNMAP_RECORD) * 8));
    if (answer === 0) return batch.get(2);
    if (isNothing && errnoName(answer) === "ENOENT") return 0n;
    throw this.#refusal(answer, "UNMAP", range);
  }

  /** Writes one record; returns why that is not possible. */
  #add({ iova, perm, ram, ramOffset = 0n }: HostMapping, index: number): HostError | undefined {
    const size = iova.last - iova.start + 1n;
    if (iova.start < 0n || size < 0n || size >= TOO_LARGE || iova.start >= TOO_LARGE) {
      return this.#refusal(-22, "MAP", iova);
    }
    const { memory } = ram ?? {};
    if (!(memory instanceof PinnedMemory) || ramOffset < 0n || ramOffset + size > memory.size) {
      const remedy = ram === undefined
        ? "give the container the guest's memory map (memory)"
        : memory instanceof PinnedMemory
        ? `use more memory: ${ram.name} has ${hex(memory.size)} bytes`
        : `use a PinnedMemory for the bytes of ${ram.name}`;
      return new HostError("EFAULT", "MAP", iova, this.#info.name, remedy);
    }
    const at = 1 + index * MAP_RECORD;
    let number: number;
    try {
      number = memoryNumber(memory);
    } catch (error) {
      if (!(error instanceof IommuError)) throw error;
      return new HostError("EFAULT", "MAP", iova, this.#info.name, `the memory of ${ram?.name} was disposed`);
    }
    this.#batch.set(at, iova.start);
    this.#batch.set(at + 1, size);
    this.#batch.set(at + 2, BigInt(number));
    this.#batch.set(at + 3, ramOffset);
    this.#batch.set(at + 4, BigInt(perm));
    return undefined;
  }

  #refusal(answer: number, call: HostCallName, range: AddressRange): HostError {
    const name = errnoName(answer);
    const errno = KNOWN.has(name) ? name as HostErrno : "EIO";
    const inside = this.#info.iovaRanges.some(({ start, last }) => start <= range.start && range.last <= last);
    const hint = HINTS[call]?.[errno];
    const remedy = call === "MAP" && errno === "EINVAL" && !inside
      ? "place the window where the host can map (for sPAPR's 64-bit window: dma64_win_addr of the PHB)"
      : hint;
    return new HostError(errno, call, range, this.#info.name, remedy);
  }
}

/** What helps, where this package knows more than the container does. */
const HINTS: Readonly<Partial<Record<HostCallName, Partial<Record<HostErrno, string>>>>> = {
  MAP: {
    EBADF: "the host was disposed",
    EEXIST: "give each container a host of its own: somebody else maps there",
    EFAULT: "let the memory of the guest be readable and writable",
    ENOMEM: "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=), or run with CAP_IPC_LOCK",
    EPERM: "run as the user that owns the files in /dev/vfio",
  },
  UNMAP: {
    EBADF: "the host was disposed",
    EINVAL: "unmap whole mappings, in whole pages",
    ENOENT: "unmap whole mappings, or use Iommufd without hugePages",
  },
};
