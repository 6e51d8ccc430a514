import { assert, assertEquals, assertThrows } from "@std/assert";
import { intersect } from "@giommu/core";
import fc from "fast-check";
import {
  checkEntry,
  checkPageSize,
  cropEvent,
  formatFlags,
  formatPerm,
  IommuNotifierFlag,
  IommuPerm,
  mapEvent,
} from "./mod.ts";
import type { IotlbEntry } from "./mod.ts";

const u64 = fc.oneof(
  fc.bigInt(0n, 40n),
  fc.bigInt(0n, 40n).map((n) => 2n ** 64n - 1n - n),
  fc.bigInt(0n, 2n ** 64n - 1n),
);
const range = fc.tuple(u64, u64).map(([a, b]) => a < b ? { start: a, last: b } : { start: b, last: a });
const event = fc.record({
  iova: range,
  target: u64,
  perm: fc.constantFrom(IommuPerm.READ, IommuPerm.WRITE, IommuPerm.READ_WRITE),
  pageSize: fc.nat(64).map((shift) => 1n << BigInt(shift)),
}).map(mapEvent);

Deno.test("property: a cropped event says the same of every address that is left", () => {
  fc.assert(fc.property(event, range, (event, range) => {
    const part = cropEvent(event, range);
    assertEquals(part?.iova, intersect(event.iova, range));
    if (part === undefined) return;
    assertEquals(
      BigInt.asUintN(64, part.target - part.iova.start),
      BigInt.asUintN(64, event.target - event.iova.start),
    );
    assertEquals([part.perm, part.type, part.pageSize], [event.perm, event.type, event.pageSize]);
    const inPage = (address: bigint) => (address - event.iova.start) % event.pageSize === 0n;
    const cutsFront = part.iova.start !== event.iova.start && !inPage(part.iova.start);
    const cutsBack = part.iova.last !== event.iova.last && !inPage(part.iova.last + 1n);
    assertEquals(part.straddles === true, cutsFront || cutsBack);
  }));
});

Deno.test("property: cropping twice is cropping to what both ranges share", () => {
  fc.assert(fc.property(event, range, range, (event, a, b) => {
    const once = cropEvent(event, a);
    const twice = once && cropEvent(once, b);
    const both = intersect(a, b);
    const direct = both && cropEvent(event, both);
    assertEquals(twice?.iova, direct?.iova);
    assertEquals(twice?.target, direct?.target);
  }));
});

Deno.test("entries from outside are checked field by field", () => {
  const good: IotlbEntry = { iova: { start: 0n, last: 0xfffn }, target: 0n, perm: IommuPerm.READ, pageSize: 0x1000n };
  assertEquals(checkEntry("entry", good), good);
  assertEquals(checkEntry("entry", { ...good, pageSize: 1n << 64n }).pageSize, 1n << 64n);
  const bad = (change: object) => ({ ...good, ...change }) as IotlbEntry;
  for (const entry of [null, 7, {}, bad({ iova: null }), bad({ iova: 5n }), bad({ iova: { start: 0, last: 1 } })]) {
    assertThrows(() => checkEntry("entry of x", entry as IotlbEntry), TypeError, "entry of x");
  }
  assertThrows(() => checkEntry("e", bad({ target: undefined })), TypeError, "e.target");
  assertThrows(() => checkEntry("e", bad({ perm: "r" })), TypeError, "e.perm");
  assertThrows(() => checkEntry("e", bad({ perm: NaN })), RangeError, "e.perm");
  assertThrows(() => checkEntry("e", bad({ perm: 4 })), RangeError, "e.perm");
  assertThrows(() => checkEntry("e", bad({ pageSize: undefined })), TypeError, "e.pageSize");
  assertThrows(() => checkEntry("e", bad({ pageSize: 0n })), RangeError, "e.pageSize");
  assertThrows(() => checkEntry("e", bad({ pageSize: -4096n })), RangeError, "e.pageSize");
  assertThrows(() => checkEntry("e", bad({ iova: { start: 2n, last: 1n } })), RangeError, "e.iova");
  assertThrows(() => checkEntry("e", bad({ target: 2n ** 64n })), RangeError, "e.target");
});

Deno.test("a page size is a power of two", () => {
  for (let shift = 0n; shift < 64n; shift++) assertEquals(checkPageSize("p", 1n << shift), 1n << shift);
  for (const size of [0n, -1n, 3n, 1n << 64n]) assertThrows(() => checkPageSize("p", size), RangeError, "p");
  assertThrows(() => checkPageSize("p", 4096 as unknown as bigint), TypeError, "p");
});

Deno.test("flags and permissions are written as people read them", () => {
  assertEquals([0, 1, 2, 3].map((perm) => formatPerm(perm as IommuPerm)), ["--", "r-", "-w", "rw"]);
  assertEquals(formatFlags(IommuNotifierFlag.ALL), "MAP|UNMAP|DEVIOTLB_UNMAP");
  assertEquals(formatFlags(IommuNotifierFlag.NONE), "NONE");
  assert(Object.isFrozen(mapEvent({ iova: { start: 0n, last: 0n }, target: 0n, perm: 1, pageSize: 1n })));
});
