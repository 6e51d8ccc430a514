import { IommuError } from "@giommu/core";
import { AddressSpace, ArrayGuestMemory, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { GuestTable } from "./_guest_table_test.ts";
import type { VfioContainerInit } from "./container_options.ts";
import type { DirtyPages } from "./dirty_tracking.ts";
import type { HostDirtyTracking } from "./host_dirty.ts";
import { HostError } from "./host_error.ts";
import type { HostIommu } from "./host_iommu.ts";
import type { SimulatedHostOptions } from "./simulated_host.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { VfioContainer } from "./vfio_container.ts";

const PAGE = 0x1000n;
const AT = 0x10_0000n;
const PAGES = 16;

/** A bus with four pages of RAM at 0 and a table of sixteen pages at 1 MiB, attached. */
function setUp(hostOptions: SimulatedHostOptions = {}, options: Omit<VfioContainerInit, "host"> = {}) {
  const table = new GuestTable({ pages: PAGES });
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, new RamRegion({ name: "ram", size: 4n * PAGE }));
  root.addSubregion(AT, table.region);
  const space = new AddressSpace({ name: "pci0", root });
  const host = new SimulatedHost(hostOptions);
  const container = new VfioContainer({ host, ...options });
  container.attach(space);
  return { table, root, space, host, container };
}

/** A device writes one byte into a page of the table's window. */
const poke = (host: SimulatedHost, page: number) => host.write(AT + BigInt(page) * PAGE + 5n, new Uint8Array(1));

const told = ({ ranges }: DirtyPages) => ranges.map(({ start, last }) => [start, last]);

Deno.test("a write is translated by the mapping through which it was made", () => {
  for (const rules of ["none", "type1"] as const) {
    const { table, host, container } = setUp({ rules });
    table.map(0, 4, 0x40000n);
    poke(host, 0); // before the start: the copy that a migration begins with has it
    assertEquals(container.dirty.start(), "written");
    poke(host, 1);
    table.map(1, 1, 0x90000n); // in place
    poke(host, 1);
    poke(host, 3);
    table.unmap(3);
    const found = container.dirty.collect();
    assertEquals([told(found), found.pages, found.pageSize, found.precision, found.reason], [
      [[0x41000n, 0x41fffn], [0x43000n, 0x43fffn], [0x90000n, 0x90fffn]],
      3n,
      PAGE,
      "written",
      undefined,
    ]);
    assertEquals(container.dirty.collect().pages, 0n);
    poke(host, 2);
    assertEquals(told(container.dirty.collect()), [[0x42000n, 0x42fffn]]);
    container.dispose();
  }
});

Deno.test("a read, or a write that faults, makes nothing dirty", () => {
  const { table, host, container } = setUp();
  table.map(0, 1, 0x40000n, 1);
  container.dirty.start();
  host.read(0n, new Uint8Array(0x4000));
  assertEquals(poke(host, 0), { bytes: 0, faults: [AT + 5n] });
  assertEquals(poke(host, 7).bytes, 0);
  assertEquals(container.dirty.collect().pages, 0n);
  container.dispose();
});

Deno.test("what a hole takes away for a moment stays dirty, and so does what the device wrote before", () => {
  const { table, host, container } = setUp({ rules: "type1" }, { coalesce: "full", allowDmaHoles: true });
  table.map(0, 6, 0x40000n);
  container.dirty.start();
  poke(host, 1);
  poke(host, 3);
  table.unmap(3);
  poke(host, 5);
  assertEquals(told(container.dirty.collect()), [[0x41000n, 0x41fffn], [0x43000n, 0x43fffn], [0x45000n, 0x45fffn]]);
  container.dispose();
});

Deno.test("RAM that devices reach without an IOMMU is tracked too, also once it is gone", () => {
  const { root, host, container } = setUp({ rules: "type1" });
  container.dirty.start();
  host.write(0x1ff0n, new Uint8Array(0x20));
  const [ram] = root.subregions.filter(({ region }) => region.kind === "ram");
  root.removeSubregion(ram!.region);
  assertEquals(told(container.dirty.collect()), [[0x1000n, 0x2fffn]]);
  container.dispose();
});

Deno.test("where the host cannot tell, all that may be written counts, also what was unmapped since, and it says so", () => {
  for (const options of [{ rules: "iommufd" }, { rules: "spapr" }, { dirtyTracking: false }] as const) {
    const { table, container } = setUp(options);
    table.map(0, 2, 0x40000n);
    table.map(2, 1, 0x80000n, 1); // read-only
    assertEquals(container.dirty.start(), "pinned");
    table.map(0, 1, 0x90000n);
    const found = container.dirty.collect();
    assertEquals([told(found), found.precision], [
      [[0n, 0x3fffn], [0x40000n, 0x41fffn], [0x90000n, 0x90fffn]],
      "pinned",
    ]);
    assert(found.reason?.includes("does not tell what devices wrote"), found.reason);
    // Still mapped is dirty again: it may be written at any time.
    assertEquals(told(container.dirty.collect()), [[0n, 0x3fffn], [0x41000n, 0x41fffn], [0x90000n, 0x90fffn]]);
    container.dirty.stop();
    container.dispose();
  }
});

/** A host whose answers about dirty pages are replaced. */
function withDirty(host: SimulatedHost, dirty: Partial<HostDirtyTracking>): HostIommu {
  const own = host.dirty!;
  return {
    info: host.info,
    map: (mapping) => host.map(mapping),
    unmap: (range) => host.unmap(range),
    mappings: () => host.mappings(),
    dirty: {
      precision: dirty.precision ?? own.precision,
      start: () => dirty.start ? dirty.start() : own.start(),
      stop: () => own.stop(),
      collect: (range) => dirty.collect ? dirty.collect(range) : own.collect(range),
      unmap: (range) => own.unmap(range),
    },
  };
}

function attached(host: HostIommu) {
  const bus = new AddressSpace({ name: "bus", root: new RamRegion({ name: "ram", size: 4n * PAGE }) });
  const container = new VfioContainer({ host });
  container.attach(bus);
  return container;
}

Deno.test("a host that counts every pinned page is asked, and the answer says what it is worth", () => {
  const host = new SimulatedHost({ rules: "type1" });
  using container = attached(withDirty(host, { precision: "pinned", collect: () => new Uint8Array([0b1111]) }));
  assertEquals(container.dirty.start(), "pinned");
  const { pages, precision, reason } = container.dirty.collect();
  assertEquals([pages, precision], [4n, "pinned"]);
  assert(reason?.includes("counts every page that it pinned"), reason);
});

Deno.test("a host that finds out at the start that it cannot is one that cannot", () => {
  const refusing = (errno: "EOPNOTSUPP" | "ENOMEM") => () => {
    throw new HostError(errno, "START", { start: 0n, last: 0n });
  };
  using container = attached(withDirty(new SimulatedHost(), { start: refusing("EOPNOTSUPP") }));
  assertEquals([container.dirty.start(), container.dirty.collect().pages], ["pinned", 4n]);
  using other = attached(withDirty(new SimulatedHost(), { start: refusing("ENOMEM") }));
  assertEquals(assertThrows(() => other.dirty.start(), IommuError).code, "host-refused");
  assertEquals(other.dirty.precision, undefined);
});

Deno.test("an answer that the host owes counts as all dirty, once, with the reason", () => {
  const { host, container } = setUp({ rules: "type1" });
  container.dirty.start();
  host.write(0n, new Uint8Array(1));
  host.failWhen({ call: host.calls + 1, errno: "EIO" });
  const found = container.dirty.collect();
  assertEquals([found.pages, found.precision], [4n, "pinned"]);
  assert(found.reason?.includes("EIO"), found.reason);
  assertEquals([container.dirty.collect().pages, container.dirty.collect().precision], [1n, "written"]);
  container.dispose();
});

Deno.test("a bitmap is never about more pages than Linux makes one of, however far apart the mappings are", () => {
  const table = new GuestTable({ pages: 2 });
  table.map(0, 2, 0x40000n);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, table.region);
  const far = new RamRegion({ name: "far", size: PAGE });
  root.addSubregion(1n << 60n, far);
  const huge = new RamRegion({ name: "huge", size: 1n << 55n });
  root.addSubregion(1n << 56n, huge);
  using bus = new AddressSpace({ name: "bus", root });
  const host = new SimulatedHost();
  const container = new VfioContainer({ host });
  container.attach(bus);
  container.dirty.start();
  host.write(PAGE, new Uint8Array(1));
  host.write(1n << 60n, new Uint8Array(1));
  container.detach(); // one wide UNMAP of all of it
  const { ranges, precision, reason } = container.dirty.collect();
  assertEquals(ranges, [
    { start: 0x41000n, last: 0x41fffn },
    { start: 1n << 56n, last: (1n << 56n) + (1n << 55n) - 1n },
    { start: 1n << 60n, last: (1n << 60n) + PAGE - 1n },
  ]);
  assertEquals(precision, "pinned");
  assert(reason?.includes("too large"), reason);
  container.dispose();
});

Deno.test("tracking is started, collected and stopped in order, and goes with the container", () => {
  const { host, container } = setUp({ rules: "type1" });
  assertEquals(assertThrows(() => container.dirty.collect(), IommuError).code, "not-started");
  container.dirty.stop();
  container.dirty.start();
  const { calls } = host;
  assertEquals([container.dirty.start(), host.calls, container.dirty.precision], ["written", calls, "written"]);
  container.dirty.stop();
  assertThrows(() => host.dirty?.collect({ start: 0n, last: 0xfffn }), HostError, "EINVAL");
  container.dirty.start();
  container.dispose();
  assertThrows(() => host.dirty?.collect({ start: 0n, last: 0xfffn }), HostError, "EINVAL");
  assertEquals(assertThrows(() => container.dirty.start(), IommuError).code, "disposed");
});

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("store" as const),
      first: fc.nat(PAGES - 1),
      count: fc.integer({ min: 1, max: 8 }),
      target: fc.option(fc.bigInt({ min: 0n, max: 40n }), { nil: undefined }),
      perm: fc.constantFrom(1 as const, 2 as const, 3 as const),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      at: fc.nat(PAGES * 4),
      length: fc.integer({ min: 1, max: 0x5000 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("collect" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("replug" as const) }) },
);

const HOSTS: [string, SimulatedHostOptions, Omit<VfioContainerInit, "host">][] = [
  ["without rules", {}, {}],
  ["without rules or wide unmaps", { unmapWide: false }, {}],
  ["type1", { rules: "type1" }, {}],
  ["type1 with room for 10", { rules: "type1", maxMappings: 10 }, {}],
  ["type1 with holes", { rules: "type1" }, { coalesce: "full", allowDmaHoles: true }],
  ["iommufd that splits", { rules: "iommufd", split: "atomic", dirtyTracking: true }, {}],
];

for (const [name, hostOptions, options] of HOSTS) {
  Deno.test(`property: on a host ${name} exactly what devices wrote is told, once`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const { table, space, host, container } = setUp(hostOptions, options);
        container.dirty.start();
        const written = new Set<bigint>();
        const check = () => {
          const found = new Set<bigint>();
          for (const { start, last } of container.dirty.collect().ranges) {
            for (let page = start; page < last; page += PAGE) found.add(page);
          }
          assertEquals(found, new Set(written));
          written.clear();
        };
        for (const one of steps) {
          switch (one.do) {
            case "store": {
              const count = Math.min(one.count, PAGES - one.first);
              if (one.target === undefined) table.unmap(one.first, count);
              else table.map(one.first, count, 0x40000n + one.target * PAGE, one.perm);
              break;
            }
            case "write": {
              // A quarter of a page at a time, from the RAM on, or into the window.
              const at = AT * BigInt(one.at & 1) + BigInt(one.at >> 1) * 0x800n;
              for (let page = at & ~0xfffn; page < at + BigInt(one.length); page += PAGE) {
                const reached = host.translate(page);
                if (reached !== undefined && reached.perm & 2) written.add(reached.gpa);
              }
              host.write(at, new Uint8Array(one.length));
              break;
            }
            case "collect":
              check();
              break;
            case "replug":
              container.detach();
              try {
                container.attach(space);
              } catch (error) {
                assertEquals((error as IommuError).code, "mapping-limit");
                table.unmap(0, PAGES);
                container.attach(space);
              }
          }
        }
        container.detach();
        check();
        container.dispose();
      }),
      { numRuns: 120 },
    );
  });
}

Deno.test("a device's bytes arrive where the mapping says", () => {
  const memory = new ArrayGuestMemory(0x4000);
  using bus = new AddressSpace({ name: "bus", root: new RamRegion({ name: "ram", size: 0x4000n, memory }) });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(bus);
  assertEquals(host.write(0x1ffen, new Uint8Array([1, 2, 3, 4])), { bytes: 4, faults: [] });
  assertEquals([...memory.bytes.subarray(0x1ffe, 0x2002)], [1, 2, 3, 4]);
  const back = new Uint8Array(4);
  assertEquals(host.read(0x3ffen, back), { bytes: 2, faults: [0x4000n] });
  assertEquals(host.read(0x1fffn, back).bytes, 4);
  assertEquals([...back], [2, 3, 4, 0]);
  assertEquals(host.write(2n ** 64n - 2n, back), { bytes: 0, faults: [2n ** 64n - 2n] });
});
