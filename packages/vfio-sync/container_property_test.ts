import { IommuError } from "@giommu/core";
import { AddressSpace, MemoryRegion, RamRegion, transaction } from "@giommu/memory-api";
import type { IommuPerm } from "@giommu/notifiers";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Page } from "./_guest_table_test.ts";
import { flatten, GuestTable } from "./_guest_table_test.ts";
import type { CoalescePolicy } from "./attach_report.ts";
import type { HostCallResult } from "./host_script.ts";
import type { SimulatedHostOptions } from "./simulated_host.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { verify } from "./verify.ts";
import type { VfioContainerInit } from "./container_options.ts";
import { VfioContainer } from "./vfio_container.ts";

const SMALL_PAGES = 24;
const SMALL_AT = 0x10000n;
// Entries of 64 KiB at a bus address that is a multiple of 4 KiB only.
const LARGE_PAGES = 5;
const LARGE_AT = 0x103000n;
const LOCAL_AT = 0x4000_0000n;
const LOCAL_PAGES = 8n;
// Guest memory: RAM up to 128 KiB, a DIMM of 64 KiB that may be absent, ROM of 64 KiB, nothing above.
const DIMM = { start: 0x20000n, last: 0x2ffffn };
const ROM = { start: 0x30000n, last: 0x3ffffn };
const TARGETS = 0x50n;

type Step =
  | { readonly kind: "write"; readonly large: boolean; readonly first: number; readonly values: readonly Page[] }
  | { readonly kind: "dimm" }
  | { readonly kind: "overlay"; readonly at: number };

/** A guest with two IOMMU windows, local RAM, and memory that comes and goes. */
class World {
  readonly host: SimulatedHost;
  readonly container: VfioContainer;
  readonly small: GuestTable = new GuestTable({ pages: SMALL_PAGES });
  readonly large: GuestTable = new GuestTable({ pages: LARGE_PAGES, pageSize: 0x10000n });
  readonly bus: AddressSpace;
  readonly memory: AddressSpace;
  readonly #dimm = new RamRegion({ name: "dimm", size: 0x10000n });
  readonly #busRoot = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  readonly #overlay = new MemoryRegion({ name: "overlay", size: 0x3000n });
  #overlayAt: bigint | undefined;
  #lastOverlay: bigint | undefined;
  #dimmThere = true;
  /** What must be reachable after every single host call. */
  #untouched: Map<bigint, string> | undefined;
  readonly #watches: boolean;

  constructor(host: SimulatedHostOptions, container: Omit<VfioContainerInit, "host">, failAt: number[]) {
    const root = new MemoryRegion({ name: "memory", size: 2n ** 64n });
    root.addSubregion(0n, new RamRegion({ name: "ram", size: 0x20000n }));
    root.addSubregion(DIMM.start, this.#dimm);
    root.addSubregion(ROM.start, new RamRegion({ name: "rom", size: 0x10000n, readonly: true }));
    this.memory = new AddressSpace({ name: "memory", root });
    this.#busRoot.addSubregion(SMALL_AT, this.small.region);
    this.#busRoot.addSubregion(LARGE_AT, this.large.region);
    this.#busRoot.addSubregion(LOCAL_AT, new RamRegion({ name: "local", size: LOCAL_PAGES * 0x1000n }));
    // Hides what lies below it: a section in the middle of another one.
    this.#overlay.addSubregion(0n, new RamRegion({ name: "over", size: 0x3000n, readonly: true }));
    this.bus = new AddressSpace({ name: "bus", root: this.#busRoot, memory: this.memory });
    this.host = new SimulatedHost({
      ...host,
      failAt: failAt.map((call) => ({ call, errno: "EIO" })),
      observe: (result) => this.#look(result),
    });
    this.container = new VfioContainer({ host: this.host, ...container });
    this.#watches = this.host.info.split === "atomic" || this.container.policy.holes === "forbidden";
  }

  /** What a device should reach, at one address per 4 KiB. */
  expected(): Map<bigint, string> {
    const all = new Map<bigint, string>();
    for (const [table, at] of [[this.small, SMALL_AT], [this.large, LARGE_AT]] as const) {
      for (const [index, { target, perm }] of table.pages) {
        for (let offset = 0n; offset < table.pageSize; offset += 0x1000n) {
          const left = this.#left(target + offset, perm);
          if (left !== 0) all.set(at + index * table.pageSize + offset, `${(target + offset).toString(16)} ${left}`);
        }
      }
    }
    for (let i = 0n; i < LOCAL_PAGES; i++) {
      all.set(LOCAL_AT + i * 0x1000n, `${(LOCAL_AT + i * 0x1000n).toString(16)} 3`);
    }
    if (this.#overlayAt !== undefined) {
      for (let i = 0n; i < 3n; i++) {
        const at = this.#overlayAt + i * 0x1000n;
        all.set(at, `${at.toString(16)} 1`);
      }
    }
    return all;
  }

  /** Does one step; afterwards host and guest agree, or the container is failed and says where they do not. */
  step(step: Step): void {
    if (step.kind === "write") this.#write(step);
    else this.#topology(step);
    this.check();
  }

  #write({ large, first, values }: Extract<Step, { kind: "write" }>): void {
    const table = large ? this.large : this.small;
    const at = large ? LARGE_AT : SMALL_AT;
    const before = new Map(table.pages);
    const cut = values.slice(0, (large ? LARGE_PAGES : SMALL_PAGES) - first);
    const start = at + BigInt(first) * table.pageSize;
    // Entries that keep their value are neighbours like any other.
    this.#watch((iova) => {
      const index = iova < start ? -1 : Number((iova - start) / table.pageSize);
      const value = cut[index];
      const old = before.get(BigInt(first + index));
      return index < 0 || index >= cut.length || (value?.target === old?.target && value?.perm === old?.perm);
    });
    const { status, lost } = table.write(first, cut);
    if (status === "refused" && lost.length === 0) assertEquals(table.pages, before);
    if (status === "unmap-failed") assert(this.container.failed !== undefined);
  }

  #topology(step: Extract<Step, { kind: "dimm" | "overlay" }>): void {
    try {
      transaction(() => {
        if (step.kind === "dimm") {
          this.#dimmThere = !this.#dimmThere;
          const root = this.memory.root;
          if (this.#dimmThere) root.addSubregion(DIMM.start, this.#dimm);
          else root.removeSubregion(this.#dimm);
          this.#watch((_, reaches) => !inRange(BigInt(`0x${reaches.split(" ")[0]}`), DIMM));
        } else if (this.#overlayAt === undefined) {
          const at = [SMALL_AT + 0x5000n, LARGE_AT + 0x8000n, LOCAL_AT + 0x2000n][step.at % 3] ?? 0n;
          this.#overlayAt = this.#lastOverlay = at;
          this.#busRoot.addSubregion(at, this.#overlay, { priority: 1 });
          this.#watch((iova) => !inRange(iova, { start: at, last: at + 0x2fffn }));
        } else {
          const at = this.#overlayAt;
          this.#overlayAt = undefined;
          this.#busRoot.removeSubregion(this.#overlay);
          this.#watch((iova) => !inRange(iova, { start: at, last: at + 0x2fffn }));
        }
      });
    } catch (error) {
      assert(error instanceof IommuError, String(error));
      // It may have been refused, or not (an UNMAP that failed refuses nothing): the map tells.
      this.#dimmThere = this.memory.flatView().find(DIMM.start) !== undefined;
      if (this.#overlayAt === undefined || this.bus.flatView().find(this.#overlayAt)?.region.name !== "over") {
        this.#overlayAt = [...this.bus.sections].find(({ region }) => region.name === "over")?.range.start;
      }
    }
  }

  /** Compares the host with the model. */
  check(): void {
    this.#untouched = undefined;
    const found = flatten(this.host.mappings());
    const { failed } = this.container;
    if (failed === undefined) {
      assertEquals(found, this.expected());
      assertEquals(flatten(this.container.mappings()), found);
      assert(verify(this.container).agrees);
      return;
    }
    const expected = this.expected();
    for (const iova of new Set([...found.keys(), ...expected.keys()])) {
      if (found.get(iova) === expected.get(iova)) continue;
      const named = failed.ranges.some((range) => inRange(iova, range)) || this.#unfollowed(iova);
      assert(named, `${iova.toString(16)} differs and is not named by ${failed.message}`);
    }
  }

  /** Whether a failed container did not follow the rest of the transaction in which it failed. */
  #unfollowed(iova: bigint): boolean {
    return this.#lastOverlay !== undefined &&
      inRange(iova, { start: this.#lastOverlay, last: this.#lastOverlay + 0x2fffn });
  }

  /** Overlays hide windows: what is below them does not count. */
  #left(target: bigint, perm: IommuPerm): number {
    if (target < DIMM.start) return perm;
    if (inRange(target, DIMM)) return this.#dimmThere ? perm : 0;
    return inRange(target, ROM) ? perm & 1 : 0;
  }

  #watch(untouched: (iova: bigint, reaches: string) => boolean): void {
    if (!this.#watches || this.container.space === undefined) return;
    const before = flatten(this.host.mappings());
    this.#untouched = new Map([...before].filter(([iova, reaches]) => untouched(iova, reaches)));
  }

  #look({ number, call }: HostCallResult): void {
    for (const [iova, reaches] of this.#untouched ?? []) {
      const found = this.host.translate(iova);
      assertEquals(
        found && `${found.gpa.toString(16)} ${found.perm}`,
        reaches,
        `${iova.toString(16)} after ${call} ${number}`,
      );
    }
  }
}

function inRange(address: bigint, { start, last }: { start: bigint; last: bigint }): boolean {
  return start <= address && address <= last;
}

const page = (large: boolean) =>
  fc.option(
    fc.record({
      target: fc.bigInt({ min: 0n, max: large ? 5n : TARGETS }).map((n) => n << (large ? 16n : 12n)),
      perm: fc.constantFrom<IommuPerm>(1, 2, 3),
    }),
    { nil: undefined, freq: 3 },
  );
const run = (large: boolean) =>
  fc.tuple(
    fc.integer({ min: 1, max: large ? 3 : 12 }),
    fc.bigInt({ min: 0n, max: large ? 4n : TARGETS }),
    fc.constantFrom<IommuPerm>(1, 2, 3),
  )
    .map(([length, target, perm]): Page[] =>
      Array.from({ length }, (_, i) => ({ target: (target + BigInt(i)) << (large ? 16n : 12n), perm }))
    );
const write = fc.boolean().chain((large) =>
  fc.record({
    kind: fc.constant("write" as const),
    large: fc.constant(large),
    first: fc.integer({ min: 0, max: (large ? LARGE_PAGES : SMALL_PAGES) - 1 }),
    values: fc.oneof(
      fc.array(page(large), { minLength: 1, maxLength: 6 }),
      run(large),
      fc.integer({ min: 1, max: 12 }).map((length): Page[] => Array.from({ length }, () => undefined)),
    ),
  })
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: write },
  { weight: 1, arbitrary: fc.constant({ kind: "dimm" as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("overlay" as const), at: fc.integer({ min: 0, max: 2 }) }) },
);

const HOSTS: [string, SimulatedHostOptions][] = [
  ["without rules", {}],
  ["without rules or wide unmaps", { unmapWide: false }],
  ["type1", { rules: "type1" }],
  ["type1 with room for 12", { rules: "type1", maxMappings: 12 }],
  ["iommufd", { rules: "iommufd" }],
  ["iommufd that splits", { rules: "iommufd", split: "atomic" }],
  ["spapr", { rules: "spapr", iovaRanges: [{ start: 0n, last: 0xffff_ffffn }] }],
];
const POLICIES: [string, Omit<VfioContainerInit, "host">][] = [
  ["auto", {}],
  ["none", { coalesce: "none" }],
  ...(["call", "full"] as CoalescePolicy[]).map((coalesce): [string, Omit<VfioContainerInit, "host">] => [
    `${coalesce} with holes`,
    { coalesce, allowDmaHoles: true },
  ]),
  ["full with a device that stops", { coalesce: "full", quiesce: () => {} }],
];

for (const [hostName, host] of HOSTS) {
  for (const [policyName, policy] of POLICIES) {
    Deno.test(`VfioContainer on ${hostName}, coalesce ${policyName}, agrees with the guest whichever host call fails`, () => {
      fc.assert(
        fc.property(
          fc.array(step, { maxLength: 5 }),
          fc.array(step, { minLength: 1, maxLength: 7 }),
          (before, after) => {
            const calls = play(host, policy, before, after, []);
            for (let k = 1; k <= calls; k += 1) play(host, policy, before, after, [k]);
            // And undone by a second failure: mappings are lost, rollbacks fail.
            for (let k = 1; k <= calls; k += 3) play(host, policy, before, after, [k, k + 1, k + 2]);
          },
        ),
        { numRuns: 12 },
      );
    });
  }
}

/** Plays a guest with a device that is plugged in half way; returns how many host calls that took. */
function play(
  host: SimulatedHostOptions,
  policy: Omit<VfioContainerInit, "host">,
  before: readonly Step[],
  after: readonly Step[],
  failAt: number[],
): number {
  const world = new World(host, policy, failAt);
  const { container, bus, memory } = world;
  try {
    for (const one of before) {
      if (one.kind === "write") {
        world[one.large ? "large" : "small"].write(
          one.first,
          one.values.slice(0, (one.large ? LARGE_PAGES : SMALL_PAGES) - one.first),
        );
      }
    }
    try {
      container.attach(bus);
    } catch (error) {
      assert(error instanceof IommuError, String(error));
      assertEquals([world.small.region.notifiers.size, world.large.region.notifiers.size, container.space], [
        0,
        0,
        undefined,
      ]);
      assertEquals([bus.listeners.length, memory.listeners.length], [0, 0]);
      assertEquals(error.code === "rollback-failed", world.host.size > 0);
      if (container.failed === undefined) assertEquals(world.host.size, 0);
      return world.host.calls;
    }
    world.check();
    for (const one of after) {
      if (container.failed !== undefined) break;
      world.step(one);
    }
    const { calls } = world.host;
    world.host.failNoMore();
    container.detach();
    assertEquals([world.host.size, world.small.region.notifiers.size, bus.listeners.length], [0, 0, 0]);
    return calls;
  } finally {
    world.host.failNoMore();
    container.dispose();
    assertEquals(world.host.size, 0);
  }
}
