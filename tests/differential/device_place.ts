// Where a device is plugged in and out: a bus, its host, and the container that keeps them in step.
import { formatRange, IommuError } from "@giommu/core";
import type { AddressSpace } from "@giommu/memory-api";
import type { SpaprModel } from "@giommu/testing";
import { SimulatedHost, type SimulatedHostOptions, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { RAM_SIZE, UNIT } from "./spapr_calls.ts";

const PAGE = 0x1000n;

/** Entries of a window that are looked at. */
const SAMPLES = 48;

/** The bus of bridge 0, or of the VIO device. */
export class DevicePlace {
  readonly vio: boolean;
  readonly host: SimulatedHost;
  /** There while a device is plugged in. */
  container: VfioContainer | undefined;
  readonly #space: AddressSpace;
  /** What must be reached after every single host call. */
  #watched: ReadonlyMap<bigint, string> = new Map();

  constructor(vio: boolean, space: AddressSpace, options: SimulatedHostOptions) {
    this.vio = vio;
    this.#space = space;
    this.host = new SimulatedHost({ ...options, observe: () => this.#look() });
  }

  /** Plugs a device in; returns whether the host took what is mapped. */
  plug(): boolean {
    if (this.container !== undefined) return true;
    const container = new VfioContainer({ host: this.host });
    try {
      container.attach(this.#space);
      this.container = container;
      return true;
    } catch (error) {
      assert(error instanceof IommuError, String(error));
      if (container.failed !== undefined) this.container = container;
      else assertEquals([this.host.size, this.#space.listeners.length], [0, 0], "a refused hotplug leaves nothing");
      return false;
    }
  }

  /** Takes the device away; returns whether the host let go of everything. */
  unplug(): boolean {
    try {
      this.container?.detach();
      this.container?.dispose();
      this.container = undefined;
      return true;
    } catch (error) {
      assert(error instanceof IommuError && error.code === "unmap-failed", String(error));
      return false;
    }
  }

  /** Where an access to one byte ends in RAM, by the model. */
  reach(model: SpaprModel, address: bigint, access: 1 | 2): bigint | undefined {
    const gpa = this.vio ? model.reachFromVio(UNIT, address, access) : model.reachFromPci(0, address, access);
    return gpa !== undefined && gpa < BigInt(RAM_SIZE) ? gpa : undefined;
  }

  /** Notes what the next call must not touch: what the device reaches before it and after it alike. */
  watch(before: SpaprModel, after: SpaprModel): void {
    if (this.container === undefined) return;
    const watched = new Map<bigint, string>();
    for (const address of addresses(before)) {
      const reached = this.#reached(before, address);
      if (reached !== undefined && reached === this.#reached(after, address)) watched.set(address, reached);
    }
    this.#watched = watched;
  }

  /** The call is over. */
  watchNoMore(): void {
    this.#watched = new Map();
  }

  /** The host holds exactly what the device must reach. */
  compare(model: SpaprModel): void {
    if (this.container === undefined) return assertEquals(this.host.size, 0, "nothing is plugged in");
    this.agree();
    for (const address of addresses(model)) {
      assertEquals(this.#held(address), this.#reached(model, address), `bus address ${address.toString(16)}`);
    }
  }

  /** The host holds what the guest's tables say. */
  agree(): void {
    if (this.container === undefined) return;
    const { agrees, ranges } = verify(this.container);
    assert(agrees, `host and guest differ: ${ranges.map(({ kind, iova }) => `${kind} at ${formatRange(iova)}`)}`);
  }

  /**
   * The container failed, and says where host and guest differ.
   *
   * @param wasOneTable Whether the call was about entries of one table and nothing else.
   */
  compareFailed(wasOneTable: boolean): void {
    const failure = this.container?.failed;
    assert(this.container !== undefined && failure !== undefined);
    assert(["unmap-failed", "rollback-failed", "mapping-lost"].includes(failure.code), failure.message);
    // An attach that fails tries a second time to let go; then nothing is left that could differ.
    assert(failure.ranges.length > 0 || this.host.size === 0, "it must say which ranges differ");
    if (this.container.space === undefined || !wasOneTable) return;
    // Nothing else differs, and nowhere does the guest read that a page is mapped where the host holds another one.
    const { differing, ranges } = verify(this.container);
    assertEquals(differing, 0n, "what could not be unmapped reads 0");
    for (const { kind, iova } of ranges) {
      const isSaid = failure.ranges.some(({ start, last }) => start <= iova.start && iova.last <= last);
      assert(isSaid, `${kind} at ${formatRange(iova)}, not among ${failure.ranges.map(formatRange)}`);
    }
  }

  /** Takes the device away for good. */
  end(): void {
    this.watchNoMore();
    this.host.failNoMore();
    this.container?.dispose();
    assertEquals(this.host.size, 0, "a container takes everything along");
  }

  #look(): void {
    for (const [address, reached] of this.#watched) {
      assertEquals(this.#held(address), reached, `a neighbour at ${address.toString(16)} lost its translation`);
    }
  }

  #held(address: bigint): string | undefined {
    const found = this.host.translate(address);
    return found && shown(found.gpa, found.perm);
  }

  /** What the device reaches at a bus address: a byte of RAM and the permission. */
  #reached(model: SpaprModel, address: bigint): string | undefined {
    const [read, write] = [this.reach(model, address, 1), this.reach(model, address, 2)];
    const gpa = read ?? write;
    return gpa === undefined ? undefined : shown(gpa, (read === undefined ? 0 : 1) + (write === undefined ? 0 : 2));
  }
}

function shown(gpa: bigint, perm: number): string {
  return `${gpa.toString(16)} ${perm}`;
}

/** Bus addresses that tell something: the ends of entries, and what lies just outside of them; the first page of all. */
function addresses(model: SpaprModel): readonly bigint[] {
  const found = new Set<bigint>([0n]);
  for (const { geometry: { busOffset, pageShift }, tces } of model.windows) {
    const size = 1n << BigInt(pageShift);
    const every = Math.ceil(tces.size / SAMPLES);
    let at = 0;
    for (const index of tces.keys()) {
      if (at++ % every !== 0) continue;
      const start = busOffset + BigInt(index) * size;
      for (const address of [start - 1n, start, start + PAGE, start + size - 1n, start + size]) {
        if (address === BigInt.asUintN(64, address)) found.add(address);
      }
    }
  }
  return [...found];
}
