import { IommuError } from "@giommu/core";
import { AddressSpace, IommuMemoryRegion, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { flatten, GuestTable } from "./_guest_table_test.ts";
import type { SimulatedHostOptions } from "./simulated_host.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { verify } from "./verify.ts";
import { VfioContainer } from "./vfio_container.ts";

/** A bus with some RAM and two tables, not attached. */
function setUp(hostOptions: SimulatedHostOptions = { rules: "type1" }) {
  const first = new GuestTable({ pages: 64 });
  const second = new GuestTable({ pages: 32 });
  first.map(0, 20, 0x100000n);
  first.map(40, 10, 0x200000n);
  second.map(5, 3, 0x300000n);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, new RamRegion({ name: "ram", size: 0x4000n }));
  root.addSubregion(0x10_0000n, first.region);
  root.addSubregion(0x20_0000n, second.region);
  const space = new AddressSpace({ name: "pci0", root });
  const host = new SimulatedHost(hostOptions);
  return { first, second, root, space, host, container: new VfioContainer({ host }) };
}

Deno.test("attachSteps() ends where attach() ends", () => {
  const { space, host, container } = setUp();
  using steps = container.attachSteps(space);
  let last = 0n;
  for (let count = 1;; count++) {
    const { done, pages } = steps.step(7);
    assert(pages >= last && count < 100);
    last = pages;
    if (done) break;
  }
  const { report } = steps;
  assertEquals([report?.pages, report?.extents, report?.ramSections, report?.hostMaps], [33n, 3, 1, 34]);
  assert(verify(container).agrees);
  assertEquals([steps.step(1).done, steps.progress.done], [true, true]);
  steps.abort(); // it is done: nothing happens
  assertEquals(host.size, 34);
  container.dispose();
});

Deno.test("a guest that writes between the steps is mirrored exactly once, whatever it does", () => {
  const write = fc.record({
    large: fc.boolean(),
    first: fc.integer({ min: 0, max: 31 }),
    count: fc.integer({ min: 1, max: 12 }),
    target: fc.option(fc.bigInt({ min: 0n, max: 64n }), { nil: undefined }),
  });
  const act = fc.oneof(fc.integer({ min: 1, max: 20 }), write);
  for (const rules of ["none", "type1", "iommufd"] as const) {
    fc.assert(
      fc.property(
        fc.array(act, { maxLength: 25, size: "max" }),
        fc.oneof(fc.constant(0), fc.integer({ min: 2, max: 150 })),
        (acts, k) => {
          const { first, second, space, host, container } = setUp({ rules, failAt: [{ call: k, errno: "EIO" }] });
          using steps = container.attachSteps(space);
          try {
            for (const one of acts) {
              if (typeof one === "number") {
                steps.step(one);
                continue;
              }
              const table = one.large ? first : second;
              const count = Math.min(one.count, (one.large ? 64 : 32) - one.first);
              const { status } = one.target === undefined
                ? table.unmap(one.first, count)
                : table.map(one.first, count, one.target << 12n);
              if (status === "unmap-failed") throw container.failed;
            }
            while (!steps.step(50).done);
          } catch (error) {
            assert(error instanceof IommuError, String(error));
            steps.abort();
            host.failNoMore();
            container.dispose();
            assertEquals([host.size, first.region.notifiers.size, second.region.notifiers.size], [0, 0, 0]);
            return;
          }
          assert(verify(container).agrees);
          assertEquals(flatten(container.mappings()), flatten(host.mappings()));
          host.failNoMore();
          container.dispose();
        },
      ),
      { numRuns: 100 },
    );
  }
});

Deno.test("an aborted attach leaves nothing, wherever it was", () => {
  for (let steps = 0; steps < 40; steps++) {
    const { first, second, space, host, container } = setUp();
    const stepper = container.attachSteps(space);
    for (let i = 0; i < steps; i++) stepper.step(2);
    stepper.abort();
    stepper.abort();
    assertEquals([host.size, first.region.notifiers.size, second.region.notifiers.size, container.space], [
      0,
      0,
      0,
      undefined,
    ]);
    assertEquals(space.listeners.length, 0);
    assertEquals(assertThrows(() => stepper.step(1), IommuError).code, "replay-aborted");
    container.attach(space);
    assert(verify(container).agrees);
    container.dispose();
  }
});

Deno.test("a step that the host refuses undoes the whole attach", () => {
  const { first, space, host, container } = setUp({ rules: "type1", maxMappings: 10 });
  const steps = container.attachSteps(space, { plan: false });
  const error = assertThrows(
    () => {
      while (!steps.step(3).done);
    },
    IommuError,
    "Cannot attach type1 to pci0",
  );
  assertEquals([error.code, host.size, first.region.notifiers.size, container.space], [
    "mapping-limit",
    0,
    0,
    undefined,
  ]);
});

Deno.test("while an attach is under way nothing else can be attached, and detach() ends it", () => {
  const { space, host, container } = setUp();
  const steps = container.attachSteps(space);
  steps.step(5);
  assertEquals(assertThrows(() => container.attach(space), IommuError, "is being attached").code, "already-attached");
  assertEquals(assertThrows(() => container.attachSteps(space), IommuError).code, "already-attached");
  assertEquals(container.plan(space).refusal?.code, "already-attached");
  container.detach();
  assertEquals([host.size, container.space], [0, undefined]);
  assertEquals(assertThrows(() => steps.step(1), IommuError).code, "replay-aborted");
  steps.abort();
});

Deno.test("a window that shrinks, goes or comes during the steps is followed", () => {
  for (let before = 0; before < 30; before += 3) {
    const { first, second, root, space, host, container } = setUp();
    using steps = container.attachSteps(space);
    for (let i = 0; i < before; i++) steps.step(2);
    root.addSubregion(0x10_8000n, new RamRegion({ name: "over", size: 0x4000n, readonly: true }), { priority: 1 });
    steps.step(2);
    const late = new GuestTable({ pages: 4 });
    late.map(1, 2, 0n);
    root.addSubregion(0x30_0000n, late.region);
    first.map(2, 30, 0x700000n); // behind, under and ahead of what was taken out
    root.removeSubregion(second.region);
    while (!steps.step(3).done);
    assertEquals(host.translate(0x30_1000n)?.gpa, 0n);
    assertEquals(verify(container).ranges, []);
    assertEquals([second.region.notifiers.size, first.region.notifiers.size], [0, 2]);
    container.dispose();
  }
});

Deno.test("step() refuses a budget that is none", () => {
  const { space, container } = setUp();
  using steps = container.attachSteps(space);
  assertThrows(() => steps.step(0), RangeError, "budget");
  assertEquals(steps.report, undefined);
});

Deno.test("attachSteps() refuses what a plan finds before the first host call, unless it is told not to plan", () => {
  const { first, space, host, container } = setUp({ rules: "type1", maxMappings: 10 });
  const error = assertThrows(() => container.attachSteps(space), IommuError, "one per page makes");
  assertEquals([error.code, host.calls, container.space], ["mapping-limit", 0, undefined]);
  assertEquals([first.region.notifiers.size, space.listeners.length], [0, 0]);
  using steps = container.attachSteps(space, { plan: false });
  assertEquals(host.size, 1);
  assertThrows(() => {
    while (!steps.step(3).done);
  }, IommuError);
  assertEquals([host.size, container.space], [0, undefined]);
});

Deno.test("attachSteps() does not walk a region of 2^64 bytes to plan", () => {
  let asked = 0;
  const iommu = new IommuMemoryRegion({
    name: "huge",
    size: 1n << 64n,
    translate: (iova) => {
      asked++;
      if (iova & 0x1000n) return undefined;
      const start = iova & ~0xfffn;
      return { iova: { start, last: start + 0xfffn }, target: start, perm: 3, pageSize: 0x1000n };
    },
  });
  using space = new AddressSpace({ name: "bus", root: iommu });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attachSteps(space).abort();
  assert(asked <= 2 ** 16, String(asked));
  asked = 0;
  container.attachSteps(space, { plan: false }).abort();
  assertEquals([asked, host.calls], [0, 0]);
  // What the beginning shows is refused all the same.
  using small = new VfioContainer({ host: new SimulatedHost({ maxMappings: 10 }) });
  assertEquals(assertThrows(() => small.attachSteps(space), IommuError).code, "mapping-limit");
});

Deno.test("a container that fails between the steps leaves nothing, whether it is stepped or aborted", () => {
  for (const how of ["step", "abort", "detach"] as const) {
    const { first, space, host, container } = setUp();
    const steps = container.attachSteps(space);
    steps.step(30);
    host.failWhen({ call: ({ call }) => call === "UNMAP" });
    assertEquals(first.unmap(0, 1).status, "unmap-failed");
    host.failNoMore();
    if (how === "step") {
      const error = assertThrows(() => steps.step(10), IommuError, "Cannot attach type1 to pci0, as it cannot unmap");
      assertEquals(error.code, "unmap-failed");
    } else if (how === "abort") steps.abort();
    else container.detach();
    assertEquals([host.size, container.space, space.listeners.length], [0, undefined, 0]);
    assertEquals(first.region.notifiers.size, 0);
    const error = assertThrows(() => steps.step(1), IommuError);
    const { cause } = error;
    assertEquals([error.code, cause instanceof IommuError && cause.code], ["replay-aborted", "unmap-failed"]);
    steps.abort();
    container.dispose();
  }
});
