/** Random guest calls, with a host that refuses at random, against a plain model. */

import { ArrayGuestMemory, registerNotifier, replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Hcall } from "./hcall.ts";
import { TceTable } from "./tce_table.ts";

const ENTRIES = 1100;

/** One guest call: values for entries from `first`, how it is made, and at which map event of it the host refuses. */
interface Call {
  readonly first: number;
  readonly values: readonly bigint[];
  readonly how: "put" | "list" | "stuff";
  readonly refuseAt: number;
}

const value = fc.oneof(
  fc.constant(0n),
  fc.tuple(fc.bigInt(0n, 7n), fc.bigInt(0n, 3n)).map(([page, perm]) => (page << 12n) | perm),
  fc.bigInt(0n, 2n ** 64n - 1n),
);

const call: fc.Arbitrary<Call> = fc.record({
  first: fc.oneof(fc.nat(ENTRIES + 2), fc.integer({ min: 508, max: 516 })),
  values: fc.oneof(
    fc.array(value, { minLength: 1, maxLength: 40 }),
    fc.tuple(fc.bigInt(0n, 7n), fc.integer({ min: 1, max: 512 })).map(([page, length]) =>
      Array.from({ length }, (_, i) => ((page + BigInt(i)) << 12n) | 3n)
    ),
  ),
  how: fc.constantFrom("put", "list", "stuff"),
  refuseAt: fc.oneof(fc.constant(-1), fc.nat(3)),
});

/** What the model's entry maps: page and permission, or nothing. */
function mapping(tce: bigint): bigint | undefined {
  return (tce & 3n) === 0n ? undefined : (tce & ~0xfffn) | (tce & 3n);
}

function mapped(entries: readonly bigint[]): [number, bigint][] {
  return entries.flatMap((tce, index) => {
    const page = mapping(tce);
    return page === undefined ? [] : [[index, page] as [number, bigint]];
  });
}

Deno.test("a mirror equals the table after every call, also when the host refuses any of its events", () => {
  fc.assert(
    fc.property(fc.array(call, { maxLength: 12 }), (calls) => {
      using table = new TceTable({ liobn: 1, entries: ENTRIES });
      const host = new Map<number, bigint>();
      let refuseAt = -1;
      const mirror = (): IommuNotifier =>
        new IommuNotifier({
          flags: IommuNotifierFlag.IOTLB_EVENTS,
          notify: ({ type, iova, target, perm }) => {
            if (type === IommuNotifierFlag.MAP && refuseAt-- === 0) throw new Error("full");
            for (let at = iova.start; at <= iova.last; at += 0x1000n) {
              const index = Number(at >> 12n);
              if (type === IommuNotifierFlag.UNMAP) host.delete(index);
              else host.set(index, (target + at - iova.start) | BigInt(perm));
            }
          },
        });
      registerNotifier(table.region, mirror());
      const model = new Array<bigint>(ENTRIES).fill(0n);
      const memory = new ArrayGuestMemory(0x1000);
      for (const { first, values, how, refuseAt: at } of calls) {
        refuseAt = at;
        const ioba = BigInt(first) << 12n;
        const stored = how === "put" ? values.slice(0, 1) : how === "list" ? values : values.map(() => values[0]!);
        values.forEach((tce, i) => new DataView(memory.bytes.buffer).setBigUint64(8 * i, tce));
        const result = how === "put"
          ? table.putTce(ioba, values[0]!)
          : how === "list"
          ? table.putTceIndirect(ioba, 0n, BigInt(values.length), memory)
          : table.stuffTce(ioba, values[0]!, BigInt(values.length));
        const fits = first + stored.length <= ENTRIES;
        if (result.ret !== Hcall.NOT_ENOUGH_RESOURCES) {
          assertEquals(result.ret, fits ? Hcall.SUCCESS : Hcall.PARAMETER);
          stored.forEach((tce, i) => first + i < ENTRIES && (model[first + i] = tce));
        } else assert(refuseAt < 0, "nothing is refused unless the host refuses");
        refuseAt = -1;
        assertEquals(model.map((_, index) => table.entry(index)), model);
        assertEquals([...host].sort(([a], [b]) => a - b), mapped(model));
        const late: [number, bigint][] = [];
        replay(
          table.region,
          new IommuNotifier({
            flags: IommuNotifierFlag.MAP,
            notify: ({ iova, target, perm }) => {
              for (let at = iova.start; at <= iova.last; at += 0x1000n) {
                late.push([Number(at >> 12n), (target + at - iova.start) | BigInt(perm)]);
              }
            },
          }),
        );
        assertEquals(late, mapped(model));
      }
    }),
    { numRuns: 60 },
  );
});
