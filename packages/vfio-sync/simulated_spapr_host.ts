import type { AddressRange, Gpa, Iova } from "@giommu/core";
import { checkInteger, checkOptions, checkU64 } from "@giommu/core";
import { IommuPerm } from "@giommu/notifiers";
import { lowestBit } from "./_arithmetic.ts";
import { checkType } from "./_checks.ts";
import { accessDevice } from "./_device_access.ts";
import { HostMaps } from "./_host_maps.ts";
import { ScriptedCalls } from "./_scripted_calls.ts";
import { SpaprMemory } from "./_spapr_memory.ts";
import { SpaprWindows } from "./_spapr_windows.ts";
import type { HostDma } from "./host_dma.ts";
import type { HostErrno } from "./host_error.ts";
import type { HostIommu, HostIommuInfo, HostMapping } from "./host_iommu.ts";
import { HOST_RULES } from "./host_rules.ts";
import type { HostCallResult, HostFailure } from "./host_script.ts";
import type { HostMemory, HostWindowLimits, HostWindowRequest } from "./host_windows.ts";

/** How a {@linkcode SimulatedSpaprHost} is made. */
export interface SimulatedSpaprHostOptions {
  /** What people call it; `"spapr-tce"` unless given. */
  readonly name?: string;
  /** What windows it can hold; two of up to five levels, in pages of 4 KiB, 64 KiB, 2 MiB and 16 MiB unless given. */
  readonly windows?: HostWindowLimits;
  /** Where it puts the first, the second, … window; 0 and 2^59 unless given. */
  readonly windowStarts?: readonly Iova[];
  /** How many bytes of memory can be registered, as RLIMIT_MEMLOCK says; without a limit unless given. */
  readonly maxRegistered?: bigint;
  /** Calls that fail. */
  readonly failAt?: readonly HostFailure[];
  /** Told after every call, also of one that failed. If it throws, the call is undone and throws the same. */
  observe?(result: HostCallResult, host: SimulatedSpaprHost): void;
}

const FIELDS: Readonly<Record<keyof SimulatedSpaprHostOptions, true>> = {
  name: true,
  windows: true,
  windowStarts: true,
  maxRegistered: true,
  failAt: true,
  observe: true,
};

/**
 * A host IOMMU of a POWER machine without hardware, by the rules of VFIO's sPAPR TCE v2 (drivers/vfio/vfio_iommu_spapr_tce.c).
 *
 * - Memory has to be registered before anything can point to it (`EINVAL`); registering the same again is `EBUSY`, what
 *   overlaps something registered `EINVAL`; what is mapped cannot be unregistered (`EBUSY`).
 * - Mappings lie in windows, `ENXIO` outside. There are up to two, and the host chooses where: at 0 and at 2^59. A window's
 *   size is a power of two; its pages and levels are of those that the host has (`EINVAL`), and a third one is `ENOSPC`.
 * - A MAP over mappings takes their place, entry by entry: no address is without translation meanwhile. If it is refused
 *   because a part of its memory is not registered, the entries before that part are nothing, as in the kernel.
 * - An UNMAP of nothing, or of a part of what was mapped by one call, succeeds.
 *
 * It begins without a window: the one that the kernel makes is removed by whoever opens the container, as QEMU does. Linux
 * tells no dirty pages there.
 *
 * @example
 * ```ts
 * import { RamRegion } from "@giommu/memory-api";
 * import { HostError, SimulatedSpaprHost } from "@giommu/vfio-sync";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const ram = new RamRegion({ name: "ram", size: 0x10_0000n });
 * const host = new SimulatedSpaprHost();
 * host.registerMemory({ gpa: { start: 0n, last: 0xf_ffffn }, ram, ramOffset: 0n });
 * assertEquals(host.createWindow({ size: 1n << 30n, pageShift: 16, levels: 1 }), 0n);
 * assertEquals(host.createWindow({ size: 1n << 40n, pageShift: 16, levels: 2 }), 1n << 59n);
 *
 * const iova = { start: 0n, last: 0xffffn };
 * host.map({ iova, gpa: 0n, perm: 3, ram, ramOffset: 0n });
 * host.map({ iova, gpa: 0x2_0000n, perm: 1, ram, ramOffset: 0x2_0000n }); // in its place
 * assertEquals(host.translate(0x10n), { gpa: 0x2_0010n, perm: 1 });
 * const far = { start: 1n << 32n, last: (1n << 32n) + 0xffffn };
 * assertThrows(() => host.map({ iova: far, gpa: 0n, perm: 3, ram, ramOffset: 0n }), HostError, "ENXIO");
 * ```
 */
export class SimulatedSpaprHost implements HostIommu {
  /** What it can hold. */
  readonly info: HostIommuInfo;
  readonly #maps = new HostMaps();
  readonly #windows: SpaprWindows;
  readonly #memory: SpaprMemory;
  readonly #calls: ScriptedCalls;

  /**
   * Creates a host without windows that knows no memory.
   *
   * @param options What differs from the usual.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a number is out of bounds.
   */
  constructor(options: SimulatedSpaprHostOptions = {}) {
    checkOptions("the options of a simulated host", options, FIELDS);
    const { name = "spapr-tce", windowStarts = [0n, 1n << 59n], failAt = [], observe } = options;
    const base = HOST_RULES.spapr;
    checkType("name", name, "string");
    checkType("observe", observe, "function");
    if (options.maxRegistered !== undefined) checkU64("maxRegistered", options.maxRegistered);
    const limits = options.windows ?? { count: 2, pageSizes: base.pageSizes, levels: 5 };
    this.#windows = new SpaprWindows(limits, windowStarts);
    this.#memory = new SpaprMemory(limits.pageSizes, options.maxRegistered);
    this.info = Object.freeze({
      ...base,
      name,
      pageSizes: limits.pageSizes,
      iovaRanges: this.#windows.reach,
      exchange: true,
      windows: this.#windows.limits,
    });
    this.#calls = new ScriptedCalls(name, failAt, observe && ((result) => options.observe?.(result, this)));
  }

  /** How many calls were made so far, those that failed included. */
  get calls(): number {
    return this.#calls.made;
  }

  /** How many of them failed. */
  get failedCalls(): number {
    return this.#calls.failed;
  }

  /** How many mappings it holds; those that adjoin count as they were mapped. */
  get size(): number {
    return this.#maps.size;
  }

  /** Its windows, by slot. */
  get windows(): readonly AddressRange[] {
    return this.#windows.all.flatMap((window) => window === undefined ? [] : [window.range]);
  }

  /** The memory that it knows, in the order in which it was told. */
  get memory(): readonly HostMemory[] {
    return this.#memory.all;
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

  /** Forgets the script. */
  failNoMore(): void {
    this.#calls.failNoMore();
  }

  /**
   * Registers memory; see {@linkcode HostIommu.registerMemory}.
   *
   * @param memory A section of RAM, whole pages of the smallest size.
   * @throws {HostError} If the rules or the script refuse.
   */
  registerMemory(memory: HostMemory): void {
    const before = this.#memory.all;
    const { gpa } = memory;
    this.#calls.make({ call: "REGISTER", range: gpa }, () => this.#memory.refuse(memory), () => {
      this.#memory.all = [...before, Object.freeze({ ...memory, gpa: Object.freeze({ ...gpa }) })];
      return gpa.last - gpa.start + 1n;
    }, () => this.#memory.all = before);
  }

  /**
   * Forgets memory; see {@linkcode HostIommu.unregisterMemory}.
   *
   * @param memory What was registered.
   * @throws {HostError} If the rules or the script refuse.
   */
  unregisterMemory(memory: HostMemory): void {
    const before = this.#memory.all;
    const found = this.#memory.find(memory);
    this.#calls.make({ call: "UNREGISTER", range: memory.gpa }, () => {
      if (found === undefined) return "ENOENT";
      return [...this.#maps].some((map) => this.#memory.isBehind(map, found)) ? "EBUSY" : undefined;
    }, () => {
      this.#memory.all = before.filter((one) => one !== found);
      return memory.gpa.last - memory.gpa.start + 1n;
    }, () => this.#memory.all = before);
  }

  /**
   * Creates a window; see {@linkcode HostIommu.createWindow}.
   *
   * @param request Its size and pages.
   * @returns Where it is.
   * @throws {HostError} If the rules or the script refuse.
   */
  createWindow(request: HostWindowRequest): Iova {
    const before = this.#windows.all;
    const { slot, range } = this.#windows.next(request);
    this.#calls.make({ call: "CREATE", range }, () => this.#windows.refuse(request), () => {
      const windows = [...before];
      windows[slot] = Object.freeze({ range, page: 1n << BigInt(request.pageShift) });
      this.#windows.all = windows;
      return request.size;
    }, () => this.#windows.all = before);
    return range.start;
  }

  /**
   * Removes a window; see {@linkcode HostIommu.removeWindow}.
   *
   * @param start Where it is.
   * @throws {HostError} If the rules or the script refuse.
   */
  removeWindow(start: Iova): void {
    const before = this.#windows.all;
    const window = before.find((one) => one?.range.start === start);
    const range = window?.range ?? { start, last: start };
    const hit = window === undefined ? [] : this.#maps.overlapping(range);
    this.#calls.make({ call: "REMOVE", range }, () => window === undefined ? "EINVAL" : undefined, () => {
      for (const map of hit) this.#maps.delete(map);
      this.#windows.all = before.map((one) => one === window ? undefined : one);
      return range.last - range.start + 1n;
    }, () => {
      this.#windows.all = before;
      for (const map of hit) this.#maps.add(map);
    });
  }

  /**
   * Maps a range, in the place of what is mapped there; see {@linkcode HostIommu.map}.
   *
   * @param mapping What to map where; pages of the window.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the permission or the target is out of bounds.
   * @throws {HostError} If the rules or the script refuse.
   */
  map(mapping: HostMapping): void {
    const { gpa, perm } = mapping;
    const iova = Object.freeze({ start: mapping.iova.start, last: mapping.iova.last });
    checkU64("gpa", gpa);
    checkInteger("perm", perm, IommuPerm.NONE, IommuPerm.READ_WRITE);
    const map = Object.freeze({ ...mapping, iova });
    const before = this.#maps.overlapping(iova);
    this.#calls.make({ call: "MAP", range: iova, gpa, perm }, () => this.#refuseMap(map), () => {
      this.#maps.cutBytes(before, iova);
      this.#maps.add(map);
      return iova.last - iova.start + 1n;
    }, () => this.#maps.restore(iova, before));
  }

  /**
   * Unmaps whatever is mapped in a range of one window; see {@linkcode HostIommu.unmap}.
   *
   * @param range The bus addresses, both ends included: pages of the window.
   * @returns How many bytes were unmapped.
   * @throws {HostError} If the rules or the script refuse.
   */
  unmap(range: AddressRange): bigint {
    const iova = Object.freeze({ start: range.start, last: range.last });
    const before = this.#maps.overlapping(iova);
    return this.#calls.make(
      { call: "UNMAP", range: iova },
      () => this.#windows.refusePlace(iova),
      () => this.#maps.cutBytes(before, iova),
      () => this.#maps.restore(iova, before),
    );
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
   * A device reads; as `SimulatedHost.read`.
   *
   * @param iova The bus address of the first byte.
   * @param target Filled.
   * @returns How much got through, and where it did not.
   */
  read(iova: Iova, target: Uint8Array): HostDma {
    return accessDevice(this.#maps, lowestBit(this.info.pageSizes), iova, target, IommuPerm.READ);
  }

  /**
   * A device writes; as `SimulatedHost.write`.
   *
   * @param iova The bus address of the first byte.
   * @param source What is written.
   * @returns How much got through, and where it did not.
   */
  write(iova: Iova, source: Uint8Array): HostDma {
    return accessDevice(this.#maps, lowestBit(this.info.pageSizes), iova, source, IommuPerm.WRITE);
  }

  #refuseMap(map: HostMapping): HostErrno | undefined {
    const { iova: { start, last }, perm, ramOffset = 0n } = map;
    const wrong = this.#windows.refusePlace(map.iova);
    if (wrong !== undefined) return wrong;
    const page = this.#windows.at(start)?.page ?? 1n;
    if (perm === IommuPerm.NONE || (ramOffset & (page - 1n)) !== 0n) return "EINVAL";
    const known = this.#memory.knownBytes(map);
    if (known > last - start) return undefined;
    // tce_iommu_build_v2: the entries that were set before the one whose memory is not registered are cleared.
    const cleared = { start, last: start + known - known % page - 1n };
    this.#maps.cutBytes(this.#maps.overlapping(cleared), cleared);
    return "EINVAL";
  }
}
