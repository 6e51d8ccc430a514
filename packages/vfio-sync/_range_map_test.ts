import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { RangeMap } from "./_range_map.ts";

const entry = (start: bigint, last: bigint) => ({ iova: { start, last } });

Deno.test("RangeMap agrees with a plain list, whatever is added and deleted", () => {
  const op = fc.record({
    add: fc.boolean(),
    start: fc.integer({ min: 0, max: 6000 }),
    length: fc.integer({ min: 1, max: 9 }),
  });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 1500, size: "max" }), (ops) => {
      const map = new RangeMap<ReturnType<typeof entry>>();
      let plain: ReturnType<typeof entry>[] = [];
      for (const { add, start, length } of ops) {
        const range = { start: BigInt(start), last: BigInt(start + length - 1) };
        const hit = plain.filter(({ iova }) => iova.start <= range.last && range.start <= iova.last);
        assertEquals(map.overlapping(range), hit);
        assertEquals(map.touches(range), hit.length > 0);
        assertEquals(map.find(range.start), hit.find(({ iova }) => iova.start <= range.start));
        if (add && hit.length === 0) {
          const added = entry(range.start, range.last);
          map.add(added);
          plain = [...plain, added].sort((a, b) => Number(a.iova.start - b.iova.start));
        } else if (!add) {
          for (const gone of hit) map.delete(gone);
          plain = plain.filter((one) => !hit.includes(one));
        }
      }
      assertEquals([...map], plain);
      assertEquals(map.size, plain.length);
    }),
    { numRuns: 30 },
  );
});

Deno.test("RangeMap takes a hundred thousand entries in any order quickly", () => {
  const map = new RangeMap<ReturnType<typeof entry>>();
  const count = 100_000n;
  const started = performance.now();
  // 7919 is prime: every slot once, far from ascending.
  for (let i = 0n; i < count; i++) {
    const start = (i * 7919n % count) * 16n;
    map.add(entry(start, start + 7n));
  }
  for (let i = 0n; i < count; i += 2n) map.delete(map.find(i * 16n) ?? entry(0n, 0n));
  assertEquals(map.size, 50_000);
  assert(performance.now() - started < 5000);
});
