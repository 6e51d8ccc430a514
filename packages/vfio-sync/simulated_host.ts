import type { AddressRange, Gpa, Iova } from "@giommu/core";
import { checkInteger, checkOptions, checkU64, joinRanges } from "@giommu/core";
import { IommuPerm } from "@giommu/notifiers";
import { advance, lowestBit } from "./_arithmetic.ts";
import { checkType } from "./_checks.ts";
import { accessDevice } from "./_device_access.ts";
import { HostMaps } from "./_host_maps.ts";
import { KernelRules } from "./_kernel_rules.ts";
import { ScriptedCalls } from "./_scripted_calls.ts";
import { SimulatedDirty } from "./_simulated_dirty.ts";
import { simulatedInfo } from "./_simulated_info.ts";
import type { HostDirtyTracking } from "./host_dirty.ts";
import type { HostDma } from "./host_dma.ts";
import type { HostIommu, HostIommuInfo, HostMapping } from "./host_iommu.ts";
import type { HostRules } from "./host_rules.ts";
import type { HostCallResult, HostFailure } from "./host_script.ts";

/** How a {@linkcode SimulatedHost} is made. What is not given is as the rules say. */
export interface SimulatedHostOptions {
  /** Whose rules it follows; `"none"` unless given. */
  readonly rules?: HostRules;
  /** What people call it. */
  readonly name?: string;
  /** Its only page size, in bytes: a power of two. */
  readonly pageSize?: bigint;
  /** Where mappings may lie. */
  readonly iovaRanges?: readonly AddressRange[];
  /** How many mappings fit. */
  readonly maxMappings?: number;
  /** Whether a part of a mapping can be unmapped. */
  readonly split?: "atomic" | "none";
  /** Whether one UNMAP may cover several mappings. */
  readonly unmapWide?: boolean;
  /** Whether a mapping can be written but not read. */
  readonly writeOnly?: boolean;
  /** Whether it tells which pages its devices wrote; as Linux was seen to do unless given: `none` and `type1` do. */
  readonly dirtyTracking?: boolean;
  /** Calls that fail. */
  readonly failAt?: readonly HostFailure[];
  /**
   * Told after every call, also of one that failed: tests look here whether a neighbour is without its translation. If it
   * throws, the call is undone and throws the same: the host refused it then.
   */
  observe?(result: HostCallResult, host: SimulatedHost): void;
}

const FIELDS: Readonly<Record<keyof SimulatedHostOptions, true>> = {
  rules: true,
  name: true,
  pageSize: true,
  iovaRanges: true,
  maxMappings: true,
  split: true,
  unmapWide: true,
  writeOnly: true,
  dirtyTracking: true,
  failAt: true,
  observe: true,
};

/**
 * A host IOMMU without hardware, that answers as Linux does.
 *
 * The rules of `type1` and `iommufd` are those seen on Linux 6.12, and the same cases are tried on both (tests/host_rules): a
 * MAP over a mapping is `EEXIST`; what is unaligned, empty, without permission or outside the IOVA ranges is `EINVAL`, what
 * wraps `EINVAL` or (iommufd) `EOVERFLOW`; memory that is not there is `EFAULT`; one mapping too many is `ENOSPC`; an
 * UNMAP of a part is `EINVAL` on type1 and `ENOENT` on iommufd, where whole mappings before the part are gone then; an UNMAP of
 * nothing succeeds on type1 and is `ENOENT` on iommufd. With `split: "atomic"` a part can be unmapped, and nothing else is
 * touched.
 *
 * Its devices are {@linkcode read} and {@linkcode write}. It knows exactly which pages they wrote ({@linkcode dirty}), where
 * Linux's type1 counts every pinned page.
 *
 * @example
 * ```ts
 * import { SimulatedHost } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * const host = new SimulatedHost({ rules: "iommufd", split: "atomic" });
 * host.map({ iova: { start: 0n, last: 0x3fffn }, gpa: 0x10000n, perm: 3 });
 * assertEquals(host.unmap({ start: 0x1000n, last: 0x1fffn }), 0x1000n);
 * assertEquals(host.translate(0x2345n), { gpa: 0x12345n, perm: 3 });
 * assertEquals(host.translate(0x1345n), undefined);
 * ```
 */
export class SimulatedHost implements HostIommu {
  /** What it can hold. */
  readonly info: HostIommuInfo;
  /** Whose rules it follows. */
  readonly rules: HostRules;
  readonly #maps = new HostMaps();
  readonly #kernel: KernelRules;
  readonly #page: bigint;
  readonly #calls: ScriptedCalls;
  readonly #dirty: SimulatedDirty | undefined;

  /**
   * Creates a host that has mapped nothing.
   *
   * @param options Whose rules, and what differs from them.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the rules, `split` or an errno are unknown, a page size is no power of two, or a range is empty.
   */
  constructor(options: SimulatedHostOptions = {}) {
    checkOptions("the options of a simulated host", options, FIELDS);
    const { rules = "none", failAt = [], observe } = options;
    this.info = simulatedInfo(options);
    this.rules = rules;
    this.#page = lowestBit(this.info.pageSizes);
    this.#kernel = new KernelRules(rules, this.info, joinRanges(this.info.iovaRanges), this.#maps);
    checkType("observe", observe, "function");
    this.#calls = new ScriptedCalls(
      this.info.name,
      failAt,
      observe && ((result) => options.observe?.(result, this)),
    );
    checkType("dirtyTracking", options.dirtyTracking, "boolean");
    if (options.dirtyTracking ?? (rules === "none" || rules === "type1")) {
      this.#dirty = new SimulatedDirty(
        this.#calls,
        this.#page,
        (range) => this.#kernel.collect(range, this.#maps.overlapping(range)),
        (range, before) => this.#take(range, before),
      );
    }
  }

  /** How many calls were made so far, those that failed included. */
  get calls(): number {
    return this.#calls.made;
  }

  /** How many of them failed. */
  get failedCalls(): number {
    return this.#calls.failed;
  }

  /** How many mappings it holds. */
  get size(): number {
    return this.#maps.size;
  }

  /** Which pages its devices wrote; `undefined` if it is one that cannot tell. */
  get dirty(): HostDirtyTracking | undefined {
    return this.#dirty;
  }

  /**
   * Adds a failure to the script.
   *
   * @param failure Which calls fail; a number counts from the host's first call.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the errno is unknown, or `call` no whole number.
   */
  failWhen(failure: HostFailure): void {
    this.#calls.failWhen(failure);
  }

  /** Forgets the rest of the script. */
  failNoMore(): void {
    this.#calls.failNoMore();
  }

  /**
   * Maps a range; see {@linkcode HostIommu.map}.
   *
   * @param mapping What to map where.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the permission or the target is out of bounds.
   * @throws {HostError} If the rules or the script refuse.
   * @throws Whatever `observe` throws; nothing is mapped then.
   */
  map(mapping: HostMapping): void {
    const { gpa, perm } = mapping;
    checkBounds(mapping.iova);
    checkU64("gpa", gpa);
    checkInteger("perm", perm, IommuPerm.NONE, IommuPerm.READ_WRITE);
    const iova = Object.freeze({ start: mapping.iova.start, last: mapping.iova.last });
    const map = Object.freeze({ ...mapping, iova });
    let before: readonly HostMapping[] = [];
    this.#calls.make({ call: "MAP", range: iova, gpa, perm }, () => this.#kernel.map(map), () => {
      if (this.info.exchange === true) before = this.#maps.overlapping(iova);
      this.#maps.cutBytes(before, iova);
      this.#maps.add(map);
      return iova.last - iova.start + 1n;
    }, () => this.#maps.restore(iova, before));
  }

  /**
   * Unmaps whatever is mapped in a range; see {@linkcode HostIommu.unmap}.
   *
   * @param range The bus addresses, both ends included.
   * @returns How many bytes were unmapped.
   * @throws {TypeError} If an end is not a bigint.
   * @throws {HostError} If the rules or the script refuse.
   * @throws Whatever `observe` throws; nothing is unmapped then.
   */
  unmap(range: AddressRange): bigint {
    return this.#take(range, () => {});
  }

  /** What it holds, ascending. Do not change the host while you read. */
  mappings(): Iterable<HostMapping> {
    return this.#maps;
  }

  /**
   * What a device would reach.
   *
   * @param iova A bus address.
   * @returns The guest-physical address and the permission; `undefined` where the device would fault.
   * @throws {TypeError} If the address is not a bigint.
   * @throws {RangeError} If it does not fit 64 bits.
   */
  translate(iova: Iova): { readonly gpa: Gpa; readonly perm: IommuPerm } | undefined {
    return this.#maps.translate(checkU64("iova", iova));
  }

  /**
   * A device reads. What has no translation that allows it faults, and the read goes on with the next page.
   *
   * @param iova The bus address of the first byte.
   * @param target Filled with the bytes of the RAM behind the mappings; where a mapping has none, it stays as it is.
   * @returns How much got through, and where it did not.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If the address does not fit 64 bits.
   */
  read(iova: Iova, target: Uint8Array): HostDma {
    return accessDevice(this.#maps, this.#page, iova, target, IommuPerm.READ);
  }

  /**
   * A device writes. What has no translation that allows it faults, and the write goes on with the next page.
   *
   * @param iova The bus address of the first byte.
   * @param source What is written to the RAM behind the mappings; where a mapping has none, it is noted as written all the same.
   * @returns How much got through, and where it did not.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If the address does not fit 64 bits.
   */
  write(iova: Iova, source: Uint8Array): HostDma {
    return accessDevice(this.#maps, this.#page, iova, source, IommuPerm.WRITE, (at) => this.#dirty?.note(at));
  }

  /** Unmaps a range; `before` is called when nothing refuses it any more, and nothing is unmapped yet. */
  #take(range: AddressRange, before: () => void): bigint {
    checkBounds(range);
    const iova = Object.freeze({ start: range.start, last: range.last });
    let hit: readonly HostMapping[] = [];
    const bytes = this.#calls.make({ call: "UNMAP", range: iova }, () => {
      const wrong = this.#kernel.range(iova);
      if (wrong !== undefined) {
        this.#splitAt(iova);
        return wrong;
      }
      hit = this.#maps.overlapping(iova);
      const errno = this.#kernel.unmap(iova, hit);
      if (errno === "ENOENT") this.#loseWhole(iova, hit);
      return errno;
    }, () => {
      before();
      return this.#maps.cutBytes(hit, iova);
    }, () => this.#maps.restore(iova, hit));
    this.#dirty?.forget(iova);
    return bytes;
  }

  /** iommufd, seen on Linux 6.12: the areas before one that it cannot split are gone, and the caller is not told. */
  #loseWhole(range: AddressRange, hit: readonly HostMapping[]): void {
    if (hit[0] === undefined || hit[0].iova.start < range.start) return;
    for (const map of hit.slice(0, -1)) this.#maps.delete(map);
  }

  /** iommufd with `HUGE_PAGES=0`, seen on Linux 6.12: an UNMAP of no bytes inside an area is `EINVAL`, and cuts it there. */
  #splitAt({ start, last }: AddressRange): void {
    if (this.rules !== "iommufd" || this.info.split === "none" || last !== start - 1n || start % this.#page !== 0n) {
      return;
    }
    const map = start > 0n ? this.#maps.find(start) : undefined;
    if (map === undefined || map.iova.start === start) return;
    this.#maps.delete(map);
    this.#maps.add(advance(map, { start: map.iova.start, last }));
    this.#maps.add(advance(map, { start, last: map.iova.last }));
  }
}

/** Throws unless both ends are bigints; the rules say what else is wrong with them. */
function checkBounds({ start, last }: AddressRange): void {
  for (const end of [start, last]) {
    if (typeof end !== "bigint") throw new TypeError(`Cannot use a range: expected a bigint, got ${typeof end}`);
  }
}
