import type { AddressRange, Gpa } from "@giommu/core";
import { ADDRESS_MAX, checkInteger, checkRange, checkU64, joinRanges } from "@giommu/core";
import { IommuPerm } from "@giommu/notifiers";
import { advance, lowestBit } from "./_arithmetic.ts";
import { checkArray, checkFailure, checkObject, checkSplit, checkType } from "./_checks.ts";
import { RangeMap } from "./_range_map.ts";
import type { HostErrno } from "./host_error.ts";
import { HostError } from "./host_error.ts";
import type { HostIommu, HostIommuInfo, HostMapping } from "./host_iommu.ts";
import type { HostRules } from "./host_rules.ts";
import { HOST_RULES } from "./host_rules.ts";
import type { HostCall, HostCallResult, HostFailure } from "./host_script.ts";

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
  /** Calls that fail. */
  readonly failAt?: readonly HostFailure[];
  /**
   * Told after every call, also of one that failed: tests look here whether a neighbour is without its translation. If it
   * throws, the call is undone and throws the same: the host refused it then.
   */
  observe?(result: HostCallResult, host: SimulatedHost): void;
}

/**
 * A host IOMMU without hardware, that answers as Linux does.
 *
 * The rules of `type1` and `iommufd` are those seen on Linux 6.12: a MAP over a mapping is `EEXIST`; what is unaligned, empty, without
 * permission or outside the IOVA ranges is `EINVAL`; one mapping too many is `ENOSPC`; an UNMAP of a part is `EINVAL`
 * on type1 and `ENOENT` on iommufd, where whole mappings before the part are gone then; an UNMAP of nothing succeeds on
 * type1 and is `ENOENT` on iommufd. With `split: "atomic"` a part can be unmapped, and nothing else is touched.
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
  readonly #maps = new RangeMap<HostMapping>();
  readonly #ranges: readonly AddressRange[];
  readonly #page: bigint;
  readonly #failAt: HostFailure[];
  readonly #observe: SimulatedHostOptions["observe"];
  #calls = 0;
  #failed = 0;

  /**
   * Creates a host that has mapped nothing.
   *
   * @param options Whose rules, and what differs from them.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the rules, `split` or an errno are unknown, a page size is no power of two, or a range is empty.
   */
  constructor(options: SimulatedHostOptions = {}) {
    checkObject("options", options);
    const { rules = "none", pageSize, name, split, unmapWide, writeOnly, failAt = [], observe } = options;
    checkType("name", name, "string");
    checkSplit(split);
    checkType("unmapWide", unmapWide, "boolean");
    checkType("writeOnly", writeOnly, "boolean");
    checkType("observe", observe, "function");
    checkArray("failAt", failAt);
    checkArray("iovaRanges", options.iovaRanges ?? []);
    if (!Object.hasOwn(HOST_RULES, rules)) {
      throw new RangeError(`Cannot simulate a host: there are no rules ${JSON.stringify(rules)}`);
    }
    const base: HostIommuInfo = HOST_RULES[rules];
    if (pageSize !== undefined && (checkU64("pageSize", pageSize) === 0n || lowestBit(pageSize) !== pageSize)) {
      throw new RangeError(`Cannot simulate a host: its page size ${pageSize} is no power of two`);
    }
    const iovaRanges = (options.iovaRanges ?? base.iovaRanges).map((range) => checkRange("iovaRanges", range));
    const maxMappings = options.maxMappings ?? base.maxMappings;
    this.rules = rules;
    this.info = Object.freeze({
      name: name ?? base.name,
      pageSizes: pageSize ?? base.pageSizes,
      iovaRanges: Object.freeze(iovaRanges),
      ...(maxMappings !== undefined && { maxMappings: checkInteger("maxMappings", maxMappings) }),
      split: split ?? base.split,
      unmapWide: unmapWide ?? base.unmapWide,
      writeOnly: writeOnly ?? base.writeOnly,
    });
    this.#ranges = joinRanges(iovaRanges);
    this.#page = lowestBit(this.info.pageSizes);
    this.#failAt = failAt.map(checkFailure);
    this.#observe = observe;
  }

  /** How many calls were made so far, those that failed included. */
  get calls(): number {
    return this.#calls;
  }

  /** How many of them failed. */
  get failedCalls(): number {
    return this.#failed;
  }

  /** How many mappings it holds. */
  get size(): number {
    return this.#maps.size;
  }

  /**
   * Adds a failure to the script.
   *
   * @param failure Which calls fail; a number counts from the host's first call.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the errno is unknown, or `call` no whole number.
   */
  failWhen(failure: HostFailure): void {
    this.#failAt.push(checkFailure(failure));
  }

  /** Forgets the rest of the script. */
  failNoMore(): void {
    this.#failAt.length = 0;
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
    const call: HostCall = { number: ++this.#calls, call: "MAP", range: iova, gpa, perm };
    const errno = this.#scripted(call) ?? this.#refuseMap(mapping);
    if (errno !== undefined) this.#refuse(call, errno);
    this.#maps.add(Object.freeze({ ...mapping, iova }));
    this.#tell({ ...call, bytes: iova.last - iova.start + 1n }, iova, []);
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
    checkBounds(range);
    const iova = Object.freeze({ start: range.start, last: range.last });
    const call: HostCall = { number: ++this.#calls, call: "UNMAP", range: iova };
    const scripted = this.#scripted(call) ?? this.#refuseRange(iova);
    if (scripted !== undefined) this.#refuse(call, scripted);
    const hit = this.#maps.overlapping(iova);
    const errno = this.#refuseUnmap(iova, hit);
    if (errno !== undefined) this.#refuse(call, errno);
    let bytes = 0n;
    for (const map of hit) bytes += this.#cut(map, iova);
    this.#tell({ ...call, bytes }, iova, hit);
    return bytes;
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
  translate(iova: bigint): { readonly gpa: Gpa; readonly perm: IommuPerm } | undefined {
    const map = this.#maps.find(checkU64("iova", iova));
    return map && { gpa: BigInt.asUintN(64, map.gpa + (iova - map.iova.start)), perm: map.perm };
  }

  #scripted(call: HostCall): HostErrno | undefined {
    for (const { call: which, errno = "ENOMEM" } of this.#failAt) {
      if (typeof which === "number" ? which === call.number : which(call)) return errno;
    }
    return undefined;
  }

  /** Tells of a call that was made; if that throws, puts back what was mapped in the range before. */
  #tell(result: HostCallResult, range: AddressRange, before: readonly HostMapping[]): void {
    try {
      this.#observe?.(result, this);
    } catch (error) {
      this.#failed++;
      for (const { iova } of [{ iova: range }, ...before]) {
        for (const map of this.#maps.overlapping(iova)) this.#maps.delete(map);
      }
      for (const map of before) this.#maps.add(map);
      throw error;
    }
  }

  #refuse(call: HostCall, errno: HostErrno): never {
    this.#failed++;
    this.#observe?.({ ...call, errno, bytes: 0n }, this);
    throw new HostError(errno, call.call, call.range, this.info.name);
  }

  #refuseRange({ start, last }: AddressRange): HostErrno | undefined {
    if (last > ADDRESS_MAX) return this.rules === "iommufd" ? "EOVERFLOW" : "EINVAL";
    const mask = this.#page - 1n;
    if (start < 0n || last < start || (start & mask) !== 0n || (last & mask) !== mask) return "EINVAL";
    return undefined;
  }

  #refuseMap({ iova, gpa, perm, ram, ramOffset = 0n }: HostMapping): HostErrno | undefined {
    const wrong = this.#refuseRange(iova);
    if (wrong !== undefined) return wrong;
    if (((ram === undefined ? gpa : ramOffset) & (this.#page - 1n)) !== 0n) return "EINVAL";
    if (perm === IommuPerm.NONE || (perm === IommuPerm.WRITE && !this.info.writeOnly)) return "EINVAL";
    if (ram !== undefined && ramOffset + (iova.last - iova.start) >= ram.size) return "EFAULT";
    if (!this.#ranges.some(({ start, last }) => start <= iova.start && iova.last <= last)) return "EINVAL";
    if (this.#maps.touches(iova)) return this.rules === "spapr" ? "EBUSY" : "EEXIST";
    const { maxMappings } = this.info;
    if (maxMappings !== undefined && this.#maps.size >= maxMappings) return "ENOSPC";
    return undefined;
  }

  #refuseUnmap(range: AddressRange, hit: readonly HostMapping[]): HostErrno | undefined {
    const first = hit[0];
    const last = hit.at(-1);
    const iommufd = this.rules === "iommufd" && this.info.split === "none";
    if (first === undefined || last === undefined) return iommufd ? "ENOENT" : undefined;
    if (!this.info.unmapWide && (first.iova.start !== range.start || first.iova.last !== range.last)) return "EINVAL";
    if (this.info.split === "atomic") return undefined;
    if (first.iova.start >= range.start && last.iova.last <= range.last) return undefined;
    if (!iommufd) return "EINVAL";
    // Seen on Linux 6.12: the areas before the one that it cannot split are gone, and the caller is not told.
    if (first.iova.start >= range.start) {
      for (const map of hit.slice(0, -1)) this.#maps.delete(map);
    }
    return "ENOENT";
  }

  /** Takes a range out of a mapping; returns how many bytes of it went. */
  #cut(map: HostMapping, range: AddressRange): bigint {
    const { start, last } = map.iova;
    this.#maps.delete(map);
    const from = start > range.start ? start : range.start;
    const to = last < range.last ? last : range.last;
    if (start < from) this.#maps.add(advance(map, { start, last: from - 1n }));
    if (to < last) this.#maps.add(advance(map, { start: to + 1n, last }));
    return to - from + 1n;
  }
}

/** Throws unless both ends are bigints; the rules say what else is wrong with them. */
function checkBounds({ start, last }: AddressRange): void {
  for (const end of [start, last]) {
    if (typeof end !== "bigint") throw new TypeError(`Cannot use a range: expected a bigint, got ${typeof end}`);
  }
}
