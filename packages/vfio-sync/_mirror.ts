import type { AddressRange } from "@giommu/core";
import { intersect, IommuError, joinRanges, WHOLE_SPACE } from "@giommu/core";
import type { RawContainer } from "@giommu/core/wasm/container";
import type { AddressSpace } from "@giommu/memory-api";
import type { IotlbEvent } from "@giommu/notifiers";
import { IommuNotifierFlag, IommuPerm as Perm } from "@giommu/notifiers";
import { covers, fromPairs, lowestBit } from "./_arithmetic.ts";
import type { Driver } from "./_driver.ts";
import { FailureKind, failureOf, renamed } from "./_failure.ts";
import type { GuestRun, Touched } from "./_guest_run.ts";
import { MapKind, runOf, wholeEntries } from "./_guest_run.ts";
import { deviceMemory, deviceStuck, leftOver, notRam } from "./_mirror_problems.ts";
import { Problems } from "./_problems.ts";
import { refusal, Refused } from "./_refusal.ts";
import type { TargetPiece } from "./_targets.ts";
import { targetPieces } from "./_targets.ts";
import { RegisteredMemory } from "./_registered_memory.ts";
import { Windows } from "./_windows.ts";
import type { HostIommu, HostIommuInfo } from "./host_iommu.ts";

/**
 * Guest mappings on a host, kept in step: between the notifiers, who tell what the guest changed, and the core, which
 * decides what the host is asked.
 */
export class Mirror {
  readonly driver: Driver;
  readonly info: HostIommuInfo;
  /** The host's smallest page, in bytes. */
  readonly page: bigint;
  readonly problems: Problems = new Problems();
  /** Windows of the host, where it maps only inside of such. */
  readonly windows: Windows;
  /** Guest memory that the host was told of, where it has to be. */
  readonly known: RegisteredMemory;
  /** System memory, where targets lie; `undefined`: every address is RAM. */
  memory: AddressSpace | undefined;
  /** Whether what is told comes from a replay, which its caller brackets. */
  replaying = false;
  readonly #statics: readonly AddressRange[];
  readonly #onFailure: (error: IommuError) => void;
  readonly #onClosed: () => void;
  #failure: IommuError | undefined;
  #open = 0;
  #undone = false;
  #undoFailed = false;
  #lost: readonly AddressRange[] = [];
  #touched: Touched[] = [];

  constructor(
    driver: Driver,
    host: HostIommu,
    statics: readonly AddressRange[],
    onFailure: (error: IommuError) => void,
    onClosed: () => void,
    windows?: Windows,
  ) {
    this.driver = driver;
    this.info = host.info;
    this.page = lowestBit(host.info.pageSizes);
    this.windows = windows ?? new Windows(host);
    this.known = new RegisteredMemory(host);
    this.#statics = statics;
    this.#onFailure = onFailure;
    this.#onClosed = onClosed;
  }

  /** Why the container failed. */
  get failure(): IommuError | undefined {
    return this.#failure;
  }

  /** Whether a change is being told. */
  get isOpen(): boolean {
    return this.#open > 0;
  }

  /** One like this, that asks another host and is in a replay for good. */
  copy(driver: Driver, host: HostIommu, memory: AddressSpace | undefined): Mirror {
    const copy = new Mirror(driver, host, this.#statics, () => {}, () => {}, this.windows.copy(host));
    copy.memory = memory;
    copy.replaying = true;
    return copy;
  }

  /** Takes one event in; `delta` is what bus addresses lie above region addresses. */
  take(event: IotlbEvent, delta: bigint): void {
    if (this.#failure !== undefined && this.#open === 0) return;
    if (this.#open > 0 || this.replaying) return this.#apply(event, delta);
    // An event on its own, outside of any change: all or nothing as well.
    this.begin();
    try {
      this.#apply(event, delta);
    } catch (error) {
      this.rollback(event.iova);
      throw error;
    }
    this.commit();
  }

  /**
   * A change begins. Several notifiers of one container may each say so.
   *
   * @param maps What is going to be mapped, where that is known: on a host that exchanges, a MAP takes the place of what is
   * there then, and no device is without translation meanwhile.
   * @param delta What bus addresses lie above region addresses.
   */
  begin(maps: readonly IotlbEvent[] = [], delta = 0n): void {
    this.driver.checkIdle();
    if (this.#open === 0 && this.#failure === undefined) {
      const code = this.#core(() => this.driver.raw.begin());
      if (code !== 0) throw refusal(code, this.driver.raw, this.info);
      this.#undone = false;
      this.#undoFailed = false;
      this.#lost = [];
      this.#touched = [];
      this.problems.begin();
    }
    this.#open++;
    if (this.info.exchange === true && this.#failure === undefined) {
      this.#core(() => maps.forEach((event) => this.#expect(runOf(event, delta))));
    }
  }

  /** The change is complete. */
  commit(): void {
    if (this.#open > 0 && --this.#open === 0 && !this.#isTrapped) this.#core(() => this.#close());
  }

  /**
   * Undoes the change, all of it at the first call.
   *
   * @param range The caller's part of the bus.
   * @returns What could not be put back of what it shows: whole entries, although the bus may show parts of one in several
   * places, and some of them may be mapped. Whoever asked makes the entries nothing and says UNMAP to all.
   */
  rollback(range: AddressRange): AddressRange[] {
    if (this.#isTrapped) return []; // nobody knows what there is: the device was cut off
    return this.#core(() => this.#rollback(range));
  }

  #rollback(range: AddressRange): AddressRange[] {
    if (this.#failure !== undefined) {
      this.driver.raw.rollback(); // ends the transaction: nothing is undone for a failed container
    } else if (!this.#undone) {
      this.#undone = true;
      this.driver.raw.rollback();
      this.driver.drain();
      this.#lost = fromPairs(this.driver.raw.lost());
      this.problems.rollback();
      if (this.driver.raw.failureKind !== 0) {
        this.#undoFailed = true;
        // Whoever asked for the rollback now takes every entry of the change for nothing: what the host holds there differs.
        const held = this.#touched.flatMap(({ range: touched }) => this.heldIn(touched));
        this.settle(joinRanges(held));
      }
    }
    const lost = this.#lost.filter((one) => intersect(one, range) !== undefined).flatMap((one) =>
      wholeEntries(this.#touched, one)
    );
    if (this.#open > 0 && --this.#open === 0) this.#close();
    if (this.#undoFailed && this.#failure !== undefined) throw this.#failure;
    return lost;
  }

  /** Maps a run, cut at the borders of RAM. Throws if it is refused; parts of it may be mapped then. */
  map(run: GuestRun): void {
    this.#core(() => this.#map(run));
  }

  #map(run: GuestRun): void {
    this.driver.checkIdle();
    if (this.#failure !== undefined) return;
    const { range, target, perm, pageShift, phase, targetSpace } = run;
    if (!this.replaying) this.#touched.push({ range, pageSize: 1n << BigInt(pageShift), phase });
    if (targetSpace !== undefined && targetSpace !== this.memory) {
      this.problems.add(notRam(range, target, `the address space ${targetSpace.name}, which is not system memory`));
      return;
    }
    const { raw } = this.driver;
    const kind = this.#statics.length > 0 && this.#statics.some((window) => covers(window, range))
      ? MapKind.STATIC
      : MapKind.IOMMU;
    for (const piece of this.#pieces(run)) {
      const start = range.start + piece.offset;
      const last = start + piece.length1;
      const meta = perm | kind << 8 | pageShift << 16;
      if (piece.perm === Perm.NONE) {
        this.driver.check(raw.noteAbsent(start, last, piece.gpa, phase, meta));
        const what = piece.ram === undefined ? this.#nothing(piece.gpa) : "read-only memory";
        this.problems.add(notRam({ start, last }, piece.gpa, what));
        continue;
      }
      const backing = piece.ram === undefined ? 0 : this.driver.backings.number(piece.ram, piece.delta);
      const readonly = piece.perm === perm ? 0 : 1 << 24;
      this.request(raw.map(start, last, piece.gpa, phase, backing, meta | readonly));
    }
  }

  /** Unmaps a range. Returns why, if that would need a hole that is not allowed; nothing was done then. */
  unmap(range: AddressRange): IommuError | undefined {
    this.driver.checkIdle();
    return this.#core(() => this.#unmapBy((raw) => raw.unmap(range.start, range.last)));
  }

  /** Unmaps every IOMMU entry whose target lies in a range of guest memory; as {@linkcode unmap}. */
  unmapTargets(range: AddressRange): IommuError | undefined {
    this.driver.checkIdle();
    return this.#core(() => this.#unmapBy((raw) => raw.unmapTargets(range.start, range.last)));
  }

  #unmapBy(ask: (raw: RawContainer) => number): IommuError | undefined {
    const { raw } = this.driver;
    const code = ask(raw);
    if (code === Refused.HOLES_FORBIDDEN) return refusal(code, raw, this.info);
    this.#mustSucceed(code);
    return undefined;
  }

  /** The parts of the bus that are mapped to a range of guest memory by IOMMU entries or RAM. */
  heldTo(memory: AddressRange): AddressRange[] {
    const held: AddressRange[] = [];
    for (const { iova, gpa } of this.driver.maps(WHOLE_SPACE)) {
      const part = intersect({ start: gpa, last: gpa + (iova.last - iova.start) }, memory);
      if (part !== undefined) {
        held.push({ start: iova.start + (part.start - gpa), last: iova.start + (part.last - gpa) });
      }
    }
    return held;
  }

  /** Fails the container: what a refused change of the memory map took away could not be put back in these ranges. */
  giveUp(ranges: readonly AddressRange[], cause: unknown): void {
    if (this.#failure !== undefined) {
      this.#failure = renamed(this.#failure, joinRanges([...this.#failure.ranges, ...ranges]));
      return;
    }
    this.driver.raw.fail(FailureKind.ROLLBACK, 0n, 0n);
    this.driver.blame(cause);
    this.settle(ranges);
  }

  /** Makes the host calls of a request to the core; throws if it was refused, by the core or by the host. */
  request(code: number): void {
    if (code === 0) this.driver.drain();
    this.settle();
    this.driver.check(code);
  }

  /**
   * Unmaps everything and forgets all changes under way, then removes windows and unregisters memory. What is left mapped
   * makes the failure; whatever else the host does not take back stays noted, for the next time, and is thrown.
   */
  clear(): void {
    this.driver.checkIdle();
    this.#open = 0;
    this.problems.rollback();
    this.driver.raw.clear();
    this.driver.drain(true);
    const left = fromPairs(this.driver.raw.failureRanges());
    if (this.#failure === undefined) this.settle();
    else this.#failure = renamed(this.#failure, left);
    if (this.driver.raw.size > 0) return;
    this.driver.backings.clear();
    const errors = [...this.windows.clear(), ...this.known.clear()];
    if (errors.length > 0) throw leftOver(this.info.name, errors);
  }

  /** Lets go of RAM that no mapping uses any more; while something may have to be put back, nothing is done. */
  forgetRam(): void {
    if (this.#open === 0 && this.#failure === undefined) this.driver.forgetRam();
  }

  /** If the core says so, the container is failed from now on. `ranges`: where host and guest differ, if not where the core says. */
  settle(ranges?: readonly AddressRange[]): void {
    const { raw } = this.driver;
    const stuck = this.driver.takeStuck();
    if (stuck !== undefined) this.problems.add(deviceStuck(this.info.name, stuck));
    const kind = raw.failureKind;
    if (kind === 0 || this.#failure !== undefined) return;
    this.#failure = failureOf(kind, ranges ?? fromPairs(raw.failureRanges()), this.driver.failure, this.info.name);
    this.#onFailure(this.#failure);
    if (this.#open === 0) this.#onClosed();
  }

  /** What a run points to, piece by piece. */
  #pieces({ range, target, perm, pageShift }: GuestRun): readonly TargetPiece[] {
    // Of entries that are finer than the host's pages nothing is rounded: the core refuses them.
    const page = 1n << BigInt(pageShift) < this.page ? 1n : this.page;
    return targetPieces(this.memory, target, range.last - range.start, perm, page, this.info.peerToPeer === true);
  }

  /** What an entry points to that is no RAM for this host. */
  #nothing(gpa: bigint): string {
    const region = this.memory?.flatView().find(gpa)?.region;
    return region?.kind === "ram" && region.device ? deviceMemory(this.info.name) : "no whole page of RAM";
  }

  /** Says what of a run can be mapped: of the rest an UNMAP must not wait for a MAP. */
  #expect(run: GuestRun): void {
    if (run.targetSpace !== undefined && run.targetSpace !== this.memory) return;
    for (const { offset, length1, perm } of this.#pieces(run)) {
      const start = run.range.start + offset;
      if (perm !== Perm.NONE) this.driver.raw.expect(start, start + length1);
    }
  }

  #apply(event: IotlbEvent, delta: bigint): void {
    const run = runOf(event, delta);
    if (event.type === IommuNotifierFlag.MAP) return this.map(run);
    const { range, phase } = run;
    this.#touched.push({ range, pageSize: event.pageSize, phase });
    this.#unmapEvent(range);
  }

  #unmapEvent(range: AddressRange): void {
    const refused = this.unmap(range);
    if (refused === undefined) return;
    // A guest cannot be told that its UNMAP was refused.
    this.driver.raw.fail(FailureKind.UNMAP, range.start, range.last);
    this.driver.blame(refused);
    this.settle();
    throw this.#failure;
  }

  /** An UNMAP that the core accepted must be done by the host. */
  #mustSucceed(code: number): void {
    const { raw } = this.driver;
    const before = raw.failureKind === 0 ? 0 : raw.failureRanges().length;
    if (code === 0) this.driver.drain();
    // Read before anybody is told, who may unmap everything.
    const grew = raw.failureKind !== 0 && raw.failureRanges().length !== before;
    this.settle();
    if (this.#failure !== undefined && (code !== 0 || grew)) throw this.#failure;
    this.driver.check(code);
  }

  #close(): void {
    if (!this.#undone) {
      this.driver.raw.commit();
      if (this.info.exchange === true) {
        this.driver.drain(); // what waited for a MAP that did not come, as another's UNMAP failed
        this.settle();
      }
      this.problems.commit();
    }
    this.#touched = [];
    if (this.#failure === undefined) return;
    if (!this.#undoFailed) this.#failure = renamed(this.#failure, fromPairs(this.driver.raw.failureRanges()));
    this.#onClosed();
  }

  get #isTrapped(): boolean {
    return this.#failure?.code === "core-trapped";
  }

  /** Makes calls into the core. A trap fails the container: nobody knows any more what it mapped. */
  #core<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (error instanceof IommuError && error.code === "core-trapped" && this.#failure === undefined) {
        this.#failure = error;
        this.#onFailure(error);
        this.#onClosed();
      }
      throw error;
    }
  }

  /** The parts of a range that are mapped. */
  heldIn(range: AddressRange): AddressRange[] {
    const held: AddressRange[] = [];
    for (const { iova } of this.driver.maps(range)) {
      const part = intersect(iova, range);
      if (part !== undefined) held.push(part);
    }
    return held;
  }
}
