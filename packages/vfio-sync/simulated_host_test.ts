import type { AddressRange } from "@giommu/core";
import { RamRegion } from "@giommu/memory-api";
import { assertEquals, assertThrows } from "@std/assert";
import { HostError } from "./host_error.ts";
import type { HostRules } from "./host_rules.ts";
import type { SimulatedHostOptions } from "./simulated_host.ts";
import { SimulatedHost } from "./simulated_host.ts";

const range = (start: bigint, last: bigint): AddressRange => ({ start, last });
const page = (n: bigint): AddressRange => range(n << 12n, (n << 12n) + 0xfffn);

/** What a call answers: bytes, or the name of the error. */
function answer(call: () => bigint | void): bigint | string | void {
  try {
    return call();
  } catch (error) {
    if (error instanceof HostError) return error.errno;
    throw error;
  }
}

function host(rules: HostRules, options: SimulatedHostOptions = {}): SimulatedHost {
  return new SimulatedHost({ rules, ...options });
}

function map(on: SimulatedHost, iova: AddressRange, gpa = 0n, perm: 0 | 1 | 2 | 3 = 3): string | void {
  return answer(() => on.map({ iova, gpa, perm })) as string | void;
}

// The rows of the table that was taken from Linux 6.12: type1 and iommufd.
const ROWS: [string, (on: SimulatedHost) => unknown, unknown, unknown][] = [
  ["a MAP of the same range", (on) => map(on, page(1n)), "EEXIST", "EEXIST"],
  ["a MAP of an overlapping range", (on) => map(on, range(0n, 0x1fffn)), "EEXIST", "EEXIST"],
  ["an UNMAP inside one map", (on) => answer(() => on.unmap(page(5n))), "EINVAL", "ENOENT"],
  ["an UNMAP of its first half", (on) => answer(() => on.unmap(range(0x4000n, 0x5fffn))), "EINVAL", "ENOENT"],
  ["an UNMAP wider than the maps in it", (on) => answer(() => on.unmap(range(0n, 0xffffn))), 0x6000n, 0x6000n],
  ["an UNMAP of nothing", (on) => answer(() => on.unmap(page(0x20n))), 0n, "ENOENT"],
  ["a MAP of size 0", (on) => map(on, range(0x10000n, 0xffffn)), "EINVAL", "EINVAL"],
  ["a MAP that is not aligned", (on) => map(on, range(0x10800n, 0x117ffn)), "EINVAL", "EINVAL"],
  ["a MAP of a target that is not aligned", (on) => map(on, page(0x10n), 0x800n), "EINVAL", "EINVAL"],
  ["a MAP without permission", (on) => map(on, page(0x10n), 0n, 0), "EINVAL", "EINVAL"],
  ["a MAP into the MSI hole", (on) => map(on, page(0xfee00n)), "EINVAL", "EINVAL"],
  ["a MAP across the MSI hole", (on) => map(on, range(0xfe000000n, 0xffffffffn)), "EINVAL", "EINVAL"],
  ["a MAP above 48 bits", (on) => map(on, page(1n << 47n)), "EINVAL", "EINVAL"],
  ["a MAP that wraps", (on) => map(on, range(2n ** 64n - 0x1000n, 2n ** 64n + 0xfffn)), "EINVAL", "EOVERFLOW"],
  ["an UNMAP of size 0", (on) => answer(() => on.unmap(range(0x4000n, 0x3fffn))), "EINVAL", "EINVAL"],
  ["an UNMAP that is not aligned", (on) => answer(() => on.unmap(range(0x4000n, 0x47ffn))), "EINVAL", "EINVAL"],
];

for (const [name, call, type1, iommufd] of ROWS) {
  Deno.test(`SimulatedHost answers ${name} as Linux does`, () => {
    for (const [rules, expected] of [["type1", type1], ["iommufd", iommufd]] as const) {
      const on = host(rules);
      map(on, page(1n));
      map(on, page(2n), 0x9000n);
      map(on, range(0x4000n, 0x7fffn), 0x20000n);
      const before = on.size;
      assertEquals(call(on), expected, rules);
      if (typeof expected === "string") assertEquals(on.size, before, rules);
    }
  });
}

Deno.test("SimulatedHost has room for 65,535 type1 maps, and again after an UNMAP", () => {
  const on = host("type1");
  for (let i = 0n; i < 65535n; i++) assertEquals(map(on, page(i)), undefined);
  assertEquals(map(on, page(70000n)), "ENOSPC");
  on.unmap(page(7n));
  assertEquals(map(on, page(70000n)), undefined);
});

Deno.test("SimulatedHost of iommufd really unmaps the maps before a part that it cannot split", () => {
  const on = host("iommufd");
  map(on, page(0n));
  map(on, range(0x1000n, 0x4fffn));
  assertEquals(answer(() => on.unmap(range(0n, 0x2fffn))), "ENOENT");
  assertEquals([on.translate(0n), on.translate(0x1000n)?.gpa], [undefined, 0n]);
  // The other way round it stops at once.
  assertEquals(answer(() => on.unmap(range(0x2000n, 0x8fffn))), "ENOENT");
  assertEquals(on.size, 1);
});

Deno.test("SimulatedHost with atomic split takes a part out and leaves the rest", () => {
  const on = host("iommufd", { split: "atomic" });
  map(on, range(0n, 0xffffn), 0x100000n);
  map(on, page(0x10n), 0x500000n);
  assertEquals(on.unmap(page(4n)), 0x1000n);
  assertEquals(on.unmap(range(0xf000n, 0x10fffn)), 0x2000n);
  assertEquals(on.unmap(page(0x20n)), 0n);
  assertEquals([...on.mappings()].map(({ iova, gpa }) => [iova.start, iova.last, gpa]), [
    [0n, 0x3fffn, 0x100000n],
    [0x5000n, 0xefffn, 0x105000n],
  ]);
});

Deno.test("SimulatedHost that takes no wide UNMAPs wants one map exactly", () => {
  const on = host("none", { unmapWide: false });
  map(on, page(0n));
  map(on, page(1n));
  assertEquals(answer(() => on.unmap(range(0n, 0x1fffn))), "EINVAL");
  assertEquals(answer(() => on.unmap(page(1n))), 0x1000n);
});

Deno.test("SimulatedHost without write-only refuses it; RAM that ends too early is a bad address", () => {
  assertEquals(map(host("none", { writeOnly: false }), page(0n), 0n, 2), "EINVAL");
  const ram = new RamRegion({ name: "ram", size: 0x2000n });
  const on = host("type1");
  assertEquals(answer(() => on.map({ iova: range(0n, 0x1fffn), gpa: 0n, perm: 3, ram, ramOffset: 0x1000n })), "EFAULT");
  on.map({ iova: range(0n, 0x1fffn), gpa: 0n, perm: 3, ram, ramOffset: 0n });
});

Deno.test("SimulatedHost of sPAPR knows two windows and exchanges", () => {
  const on = host("spapr");
  assertEquals(map(on, range(0n, 0x3fffn)), undefined);
  assertEquals(map(on, page(1n), 0x9000n, 1), undefined);
  assertEquals([0n, 1n, 2n].map((n) => on.translate(n << 12n)?.gpa), [0n, 0x9000n, 0x2000n]);
  assertEquals(map(on, page(1n << 47n)), undefined); // bit 59
  assertEquals(map(on, page(0x40000n)), "EINVAL");
});

Deno.test("SimulatedHost that exchanges counts what a MAP leaves: a whole mapping makes room for itself", () => {
  const on = host("spapr", { maxMappings: 2 });
  assertEquals(map(on, range(0n, 0x1fffn)), undefined);
  assertEquals(map(on, page(2n)), undefined);
  assertEquals(map(on, page(2n), 0x9000n), undefined);
  assertEquals([map(on, page(1n), 0x9000n), map(on, page(3n))], ["ENOSPC", "ENOSPC"]);
  assertEquals(map(on, range(0n, 0x2fffn), 0x8000n), undefined);
  assertEquals(on.size, 1);
  assertEquals([map(on, page(1n)), on.size, on.translate(0x1000n)?.gpa], ["ENOSPC", 1, 0x9000n]);
});

Deno.test("SimulatedHost fails where the script says so, and nowhere else", () => {
  const heard: [number, string, string | undefined, bigint][] = [];
  const on = new SimulatedHost({
    failAt: [{ call: 2 }, { call: ({ call, range }) => call === "UNMAP" && range.start === 0n, errno: "EIO" }],
    observe: ({ number, call, errno, bytes }) => heard.push([number, call, errno, bytes]),
  });
  assertEquals(map(on, page(0n)), undefined);
  assertEquals(map(on, page(1n)), "ENOMEM");
  assertEquals(map(on, page(1n)), undefined);
  assertEquals(answer(() => on.unmap(page(0n))), "EIO");
  on.failNoMore();
  assertEquals(answer(() => on.unmap(page(0n))), 0x1000n);
  on.failWhen({ call: 6, errno: "EPERM" });
  assertEquals(answer(() => on.unmap(page(1n))), "EPERM");
  assertEquals([on.calls, on.failedCalls, on.size], [6, 3, 1]);
  assertEquals(heard, [
    [1, "MAP", undefined, 0x1000n],
    [2, "MAP", "ENOMEM", 0n],
    [3, "MAP", undefined, 0x1000n],
    [4, "UNMAP", "EIO", 0n],
    [5, "UNMAP", undefined, 0x1000n],
    [6, "UNMAP", "EPERM", 0n],
  ]);
});

Deno.test("SimulatedHost refuses options that make no host", () => {
  assertThrows(() => new SimulatedHost({ rules: "vt-d" as "none" }), RangeError, "vt-d");
  assertThrows(() => new SimulatedHost({ rules: "toString" as "none" }), RangeError, "toString");
  assertThrows(() => new SimulatedHost({ pageSize: 3000n }), RangeError, "page size");
  assertThrows(() => new SimulatedHost({ pageSize: 0n }), RangeError, "page size");
  assertThrows(() => new SimulatedHost({ iovaRanges: [range(2n, 1n)] }), RangeError, "iovaRanges");
  assertThrows(() => new SimulatedHost({ maxMappings: -1 }), RangeError, "maxMappings");
});

Deno.test("SimulatedHost takes adjoining IOVA ranges for one", () => {
  const on = host("none", { iovaRanges: [range(0x1000n, 0x1fffn), range(0n, 0xfffn)] });
  assertEquals(map(on, range(0n, 0x1fffn)), undefined);
});

Deno.test("SimulatedHost undoes a call from which its observer throws", () => {
  let armed = false;
  const on = host("iommufd", {
    split: "atomic",
    observe: () => {
      if (armed) throw new Error("observer");
    },
  });
  map(on, range(0n, 0x3fffn), 0x10000n);
  map(on, page(4n), 0x90000n);
  armed = true;
  const before = [...on.mappings()];
  assertThrows(() => map(on, page(8n)), Error, "observer");
  assertThrows(() => on.unmap(range(0x1000n, 0x4fffn)), Error, "observer");
  assertThrows(() => on.unmap(range(0x1000n, 0x1fffn)), Error, "observer");
  assertEquals([...on.mappings()], before);
  assertEquals([on.size, on.calls, on.failedCalls], [2, 5, 3]);
});

Deno.test("SimulatedHost refuses options and arguments of the wrong kind", () => {
  const make = (options: object) => () => new SimulatedHost(options);
  for (
    const [options, what] of [
      [{ name: 5 }, "name"],
      [{ unmapWide: 1 }, "unmapWide"],
      [{ writeOnly: "no" }, "writeOnly"],
      [{ observe: 5 }, "observe"],
      [{ failAt: 5 }, "failAt"],
      [{ failAt: [null] }, "failAt"],
      [{ failAt: [{ call: 1n }] }, "failAt.call"],
      [{ iovaRanges: [null] }, "iovaRanges"],
    ] as const
  ) assertThrows(make(options), TypeError, what);
  assertThrows(make({ split: "x" }), RangeError, "split");
  assertThrows(make({ failAt: [{ call: 1, errno: "EFOO" }] }), RangeError, "EFOO");
  assertThrows(make({ failAt: [{ call: 1.5 }] }), RangeError, "failAt.call");

  const on = host("none");
  assertThrows(() => on.failWhen({ call: "1" as unknown as number }), TypeError, "failAt.call");
  assertThrows(() => map(on, page(0n), 0n, 7 as 3), RangeError, "perm");
  assertThrows(() => map(on, page(0n), 5 as unknown as bigint), TypeError, "gpa");
  assertThrows(
    () => on.map({ iova: { start: 0 as unknown as bigint, last: 5n }, gpa: 0n, perm: 3 }),
    TypeError,
    "range",
  );
  assertThrows(() => on.unmap({ start: 0n, last: 5 as unknown as bigint }), TypeError, "range");
  assertThrows(() => on.translate(5 as unknown as bigint), TypeError, "iova");
  assertEquals([on.calls, on.size], [0, 0]);
});
