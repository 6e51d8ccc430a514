import type { AddressRange } from "@giommu/core";
import { RamRegion } from "@giommu/memory-api";
import { assertEquals, assertThrows } from "@std/assert";
import { HostError } from "./host_error.ts";
import { SimulatedSpaprHost } from "./simulated_spapr_host.ts";

const PAGE = 0x1000n;
const BIT59 = 1n << 59n;
const range = (start: bigint, size: bigint): AddressRange => ({ start, last: start + size - 1n });

function answer<T>(call: () => T): T | string {
  try {
    return call();
  } catch (error) {
    if (error instanceof HostError) return error.errno;
    throw error;
  }
}

const ram = new RamRegion({ name: "ram", size: 0x100_0000n });
const memory = (start: bigint, size: bigint, ramOffset = start) => ({ gpa: range(start, size), ram, ramOffset });

function setUp() {
  const host = new SimulatedSpaprHost();
  const map = (start: bigint, size: bigint, ramOffset = 0n, perm: 0 | 1 | 2 | 3 = 3) =>
    answer(() => host.map({ iova: range(start, size), gpa: ramOffset, perm, ram, ramOffset }));
  return { host, map };
}

Deno.test("SimulatedSpaprHost knows memory by what was registered, and lets go of it when nothing points there", () => {
  const { host, map } = setUp();
  const register = (start: bigint, size: bigint, at = start) =>
    answer(() => host.registerMemory(memory(start, size, at)));
  assertEquals(register(0n, 0x10000n), undefined);
  assertEquals(register(0n, 0x10000n), "EBUSY");
  assertEquals(register(0x8000n, 0x10000n), "EINVAL");
  assertEquals(register(0x10800n, 0x1000n), "EINVAL");
  assertEquals(register(0x10000n, 0x800n), "EINVAL");
  assertEquals(register(0n, 0x2000n, 0xff_f000n), "EFAULT");
  assertEquals(register(0x10000n, 0x10000n), undefined);
  host.createWindow({ size: 1n << 30n, pageShift: 12, levels: 1 });
  assertEquals(map(0n, PAGE), undefined);
  const forget = (start: bigint, size: bigint) => answer(() => host.unregisterMemory(memory(start, size)));
  assertEquals(forget(0n, 0x10000n), "EBUSY");
  assertEquals(forget(0n, 0x8000n), "ENOENT");
  assertEquals(forget(0x10000n, 0x10000n), undefined);
  host.unmap(range(0n, PAGE));
  assertEquals(forget(0n, 0x10000n), undefined);
  assertEquals(host.memory, []);
});

Deno.test("SimulatedSpaprHost puts windows where it wants, and has room for two", () => {
  const { host } = setUp();
  const create = (size: bigint, pageShift: number, levels = 1) =>
    answer(() => host.createWindow({ size, pageShift, levels }));
  assertEquals(create(3n << 30n, 12), "EINVAL"); // no power of two
  assertEquals(create(1n << 30n, 13), "EINVAL");
  assertEquals(create(1n << 30n, 12, 0), "EINVAL");
  assertEquals(create(1n << 30n, 12, 6), "EINVAL");
  assertEquals(create(1n << 59n, 12, 5), "EINVAL"); // would reach up to the second one
  assertEquals(create(1n << 11n, 12), "EINVAL");
  assertEquals([create(1n << 30n, 12), create(1n << 40n, 16, 2), create(1n << 30n, 12)], [0n, BIT59, "ENOSPC"]);
  assertEquals(host.windows, [range(0n, 1n << 30n), range(BIT59, 1n << 40n)]);
  assertEquals(answer(() => host.removeWindow(0x1000n)), "EINVAL");
  host.removeWindow(0n);
  // The first free place, whatever it is for.
  assertEquals(create(1n << 40n, 24, 1), 0n);
  assertEquals(host.calls - host.failedCalls, 4);
});

Deno.test("SimulatedSpaprHost maps in windows, in their pages, and only what it knows", () => {
  const { host, map } = setUp();
  host.registerMemory(memory(0n, 0x20000n));
  assertEquals(map(0n, PAGE), "ENXIO");
  host.createWindow({ size: 1n << 30n, pageShift: 16, levels: 1 });
  assertEquals(map(0n, PAGE), "EINVAL");
  assertEquals(map(0x8000n, 0x10000n), "EINVAL");
  assertEquals(map(0n, 0x10000n, 0x1000n), "EINVAL");
  assertEquals(map(0n, 0x10000n, 0n, 0), "EINVAL");
  assertEquals(map((1n << 30n) - 0x10000n, 0x20000n), "EINVAL");
  assertEquals(map(1n << 30n, 0x10000n), "ENXIO");
  assertEquals(map(0n, 0x10000n, 0x20000n), "EINVAL"); // not registered
  assertEquals(map(0n, 0x20000n), undefined);
  assertEquals(answer(() => host.unmap(range(0x8000n, 0x10000n))), "EINVAL");
  assertEquals(answer(() => host.unmap(range(BIT59, 0x10000n))), "ENXIO");
  assertEquals(answer(() => host.unmap(range(0x10000n, 0x100000n))), 0x10000n);
  assertEquals(answer(() => host.unmap(range(0x10000n, 0x10000n))), 0n);
  assertEquals([...host.mappings()].map(({ iova }) => iova), [range(0n, 0x10000n)]);
});

Deno.test("SimulatedSpaprHost exchanges: a MAP takes the place of what is there, entry by entry", () => {
  const { host, map } = setUp();
  host.registerMemory(memory(0n, 0x10000n));
  host.createWindow({ size: 1n << 30n, pageShift: 12, levels: 1 });
  map(0n, 8n * PAGE);
  assertEquals(map(2n * PAGE, PAGE, 0x8000n, 1), undefined);
  const reached = (page: bigint) => host.translate(page * PAGE)?.gpa;
  assertEquals([reached(1n), reached(2n), reached(3n)], [0x1000n, 0x8000n, 0x3000n]);
  // A part that is not registered: what was set before it is cleared, what comes after it stays.
  assertEquals(map(0n, 4n * PAGE, 0xe000n), "EINVAL");
  assertEquals([reached(0n), reached(1n), reached(2n), reached(3n)], [undefined, undefined, 0x8000n, 0x3000n]);
});

Deno.test("SimulatedSpaprHost undoes a call from which its observer throws, and fails where the script says", () => {
  let armed = false;
  const host = new SimulatedSpaprHost({
    failAt: [{ call: ({ call }) => call === "REMOVE", errno: "EIO" }],
    observe: () => {
      if (armed) throw new Error("observer");
    },
  });
  host.registerMemory(memory(0n, 0x10000n));
  host.createWindow({ size: 1n << 30n, pageShift: 12, levels: 1 });
  host.map({ iova: range(0n, 4n * PAGE), gpa: 0n, perm: 3, ram, ramOffset: 0n });
  assertEquals(answer(() => host.removeWindow(0n)), "EIO");
  host.failNoMore();
  const before = [[...host.mappings()], host.windows, host.memory];
  armed = true;
  for (
    const call of [
      () => host.map({ iova: range(PAGE, PAGE), gpa: 0x8000n, perm: 3, ram, ramOffset: 0x8000n }),
      () => host.unmap(range(PAGE, PAGE)),
      () => host.removeWindow(0n),
      () => host.createWindow({ size: 1n << 30n, pageShift: 12, levels: 1 }),
      () => host.registerMemory(memory(0x10000n, 0x1000n)),
    ]
  ) assertThrows(call, Error, "observer");
  assertEquals([[...host.mappings()], host.windows, host.memory], before);
  armed = false;
  host.removeWindow(0n);
  assertEquals([host.size, host.windows.length], [0, 0]);
});

Deno.test("SimulatedSpaprHost refuses options that make no host", () => {
  const make = (options: object) => () => new SimulatedSpaprHost(options);
  assertThrows(make({ name: 1 }), TypeError, "name");
  assertThrows(make({ windows: { count: 3, pageSizes: PAGE, levels: 1 } }), RangeError, "windows.count");
  assertThrows(make({ windows: { count: 1, pageSizes: 0n, levels: 1 } }), RangeError, "page size");
  assertThrows(make({ windows: { count: 1, pageSizes: PAGE, levels: 0 } }), RangeError, "windows.levels");
  assertThrows(make({ maxRegistered: 5 }), TypeError, "maxRegistered");
  assertThrows(make({ failAt: [{ call: 1, errno: "EFOO" }] }), RangeError, "EFOO");
});
