// A host on which any call can be made to fail. It stands before a simulator or a real backend, and keeps its own account of what
// is mapped, so that nothing has to be asked of what stands behind it.
import type { AddressRange } from "@giommu/core";
import type {
  HostCallName,
  HostErrno,
  HostIommu,
  HostIommuInfo,
  HostMapping,
  HostMemory,
  HostWindowRequest,
} from "@giommu/vfio-sync";
import { HostError } from "@giommu/vfio-sync";

/** Passes calls on, but for those that are to fail. */
export class FaultyHost implements HostIommu {
  readonly info: HostIommuInfo;
  registerMemory?: (memory: HostMemory) => void;
  unregisterMemory?: (memory: HostMemory) => void;
  createWindow?: (request: HostWindowRequest) => bigint;
  removeWindow?: (start: bigint) => void;
  /** How many calls were made, those that failed included. */
  calls = 0;
  /** The calls that were made to fail. */
  readonly failed: HostCallName[] = [];
  /** What is mapped; nothing overlaps. */
  #maps: HostMapping[] = [];
  readonly #windows = new Set<bigint>();
  readonly #memory = new Set<bigint>();
  readonly #inner: HostIommu;
  readonly #lies: boolean;
  #plan: ReadonlyMap<number, HostErrno> = new Map();

  /** `lies`: whether a call that is to fail is made all the same. */
  constructor(inner: HostIommu, lies = false) {
    this.#inner = inner;
    this.#lies = lies;
    this.info = inner.info;
    if (inner.registerMemory !== undefined) {
      this.registerMemory = (memory) => {
        this.#pass("REGISTER", memory.gpa, () => inner.registerMemory?.(memory));
        this.#memory.add(memory.gpa.start);
      };
      this.unregisterMemory = (memory) => {
        this.#pass("UNREGISTER", memory.gpa, () => inner.unregisterMemory?.(memory));
        this.#memory.delete(memory.gpa.start);
      };
    }
    if (inner.createWindow !== undefined) {
      this.createWindow = (request) => {
        const where = { start: 0n, last: request.size - 1n };
        const start = this.#pass("CREATE", where, () => inner.createWindow?.(request) ?? 0n);
        this.#windows.add(start);
        return start;
      };
      this.removeWindow = (start) => {
        this.#pass("REMOVE", { start, last: start }, () => inner.removeWindow?.(start));
        this.#windows.delete(start);
      };
    }
  }

  /** Calls that will fail, by how many come before them from now on; replaces what was planned. */
  failIn(plan: ReadonlyMap<number, HostErrno>): void {
    this.#plan = new Map([...plan].map(([distance, errno]) => [this.calls + distance, errno]));
    this.failed.length = 0;
  }

  map(mapping: HostMapping): void {
    this.#pass("MAP", mapping.iova, () => {
      this.#inner.map(mapping);
      if (this.info.exchange === true) this.#cut(mapping.iova);
      this.#maps.push(mapping);
    });
  }

  unmap(range: AddressRange): bigint {
    return this.#pass("UNMAP", range, () => {
      const bytes = this.#inner.unmap(range);
      this.#cut(range);
      return bytes;
    });
  }

  *mappings(): Generator<HostMapping> {
    yield* this.#maps.toSorted((a, b) => (a.iova.start < b.iova.start ? -1 : 1));
  }

  /** All that it holds, page by page of 4 KiB, and windows and memory. */
  holdings(): string[] {
    const all = pagesOf(this.mappings());
    for (const start of [...this.#windows].sort()) all.push(`window ${start.toString(16)}`);
    for (const start of [...this.#memory].sort()) all.push(`memory ${start.toString(16)}`);
    return all;
  }

  #pass<T>(call: HostCallName, range: AddressRange, make: () => T): T {
    const errno = this.#plan.get(++this.calls);
    if (errno === undefined) return make();
    this.failed.push(call);
    if (this.#lies) make();
    throw new HostError(errno, call, range, this.info.name);
  }

  #cut(range: AddressRange): void {
    this.#maps = this.#maps.flatMap((map) => {
      const { start, last } = map.iova;
      if (last < range.start || range.last < start) return [map];
      const rests: HostMapping[] = [];
      if (start < range.start) rests.push({ ...map, iova: { start, last: range.start - 1n } });
      if (range.last < last) {
        const cut = range.last + 1n - start;
        rests.push({ ...map, iova: { start: range.last + 1n, last }, gpa: map.gpa + cut });
      }
      return rests;
    });
  }
}

/** What mappings reach, page by page of 4 KiB. */
export function pagesOf(mappings: Iterable<HostMapping>): string[] {
  const all: string[] = [];
  for (const { iova, gpa, perm } of mappings) {
    for (let at = iova.start; at <= iova.last; at += 0x1000n) {
      all.push(`${at.toString(16)} -> ${(gpa + (at - iova.start)).toString(16)} ${perm}`);
    }
  }
  return all;
}
