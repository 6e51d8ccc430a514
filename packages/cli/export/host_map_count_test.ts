import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { HostMapCount } from "./host_map_count.ts";

const PAGE = 0x1000n;

Deno.test("an unmap of many pages takes every mapping that lies in it, and none that does not", () => {
  const count = new HostMapCount();
  for (const page of [0n, 1n, 5n, 9n]) count.map(page * PAGE, page * PAGE + 0xfffn);
  count.map(0x10_0000n, 0x1f_ffffn);
  count.unmap(PAGE, 0x10_ffffn); // ends inside of the large one
  assertEquals(count.size, 2);
  count.unmap(0n, 0xffff_ffff_ffff_ffffn);
  assertEquals(count.size, 0);
});

Deno.test("an unmap takes what lies in a mapping that begins and ends with it, too", () => {
  const count = new HostMapCount();
  count.map(5n * PAGE, 5n * PAGE + 0xfffn);
  count.map(4n * PAGE, 20n * PAGE - 1n); // the host refuses it, but the log does not say so
  count.unmap(4n * PAGE, 20n * PAGE - 1n);
  assertEquals(count.size, 0);
});

Deno.test("it counts as a list of mappings does", () => {
  const page = fc.integer({ min: 0, max: 40 });
  const step = fc.record({ map: fc.boolean(), first: page, pages: fc.constantFrom(1, 1, 1, 4, 16, 1 << 20) });
  fc.assert(fc.property(fc.array(step), (steps) => {
    const count = new HostMapCount();
    let plain: { first: bigint; last: bigint }[] = [];
    for (const { map, first, pages } of steps) {
      const start = BigInt(first) * PAGE;
      const last = start + BigInt(pages) * PAGE - 1n;
      if (map) {
        count.map(start, last);
        if (!plain.some((one) => one.first === start)) plain.push({ first: start, last });
      } else {
        count.unmap(start, last);
        plain = plain.filter((one) => one.first < start || one.last > last);
      }
      assertEquals(count.size, plain.length);
    }
  }));
});
