import { HostError, SimulatedHost } from "@giommu/vfio-sync";
import { assertEquals, assertThrows } from "@std/assert";
import { LedgerHost } from "./ledger_host.ts";

function ledger(real: SimulatedHost): LedgerHost {
  return new LedgerHost({
    info: real.info,
    map: (mapping) => real.map(mapping),
    mapAll: (mappings) => {
      for (const [done, mapping] of mappings.entries()) {
        try {
          real.map(mapping);
        } catch (error) {
          if (error instanceof HostError) return { done, refusal: error };
          throw error;
        }
      }
      return { done: mappings.length };
    },
    unmap: (range) => real.unmap(range),
  });
}

function page(number: bigint, pages = 1n) {
  const start = number << 12n;
  return { iova: { start, last: start + (pages << 12n) - 1n }, gpa: 0x10_0000n + start, perm: 3 } as const;
}

Deno.test("The ledger has what the host took, and not what it refused", () => {
  const real = new SimulatedHost({ rules: "type1", failAt: [{ call: 3, errno: "ENOMEM" }] });
  const host = ledger(real);
  host.map(page(1n));
  assertThrows(() => host.map(page(1n)), HostError, "EEXIST");
  assertEquals(host.mapAll([page(4n), page(5n)]).done, 0);
  assertEquals(host.mapAll([page(6n), page(7n), page(1n), page(8n)]).done, 2);
  assertEquals([...host.mappings()], [page(1n), page(6n), page(7n)]);
  assertEquals([...host.mappings()], [...real.mappings()]);
});

Deno.test("The ledger lets go of what the host unmapped, parts of mappings too, and of nothing else", () => {
  const real = new SimulatedHost({ rules: "iommufd", split: "atomic" });
  const host = ledger(real);
  host.map(page(0n, 8n));
  assertEquals(host.unmap(page(2n).iova), 0x1000n);
  assertEquals([...host.mappings()], [...real.mappings()]);
  const whole = ledger(new SimulatedHost({ rules: "type1" }));
  whole.map(page(0n, 8n));
  assertThrows(() => whole.unmap(page(2n).iova), HostError, "EINVAL");
  assertEquals([...whole.mappings()], [page(0n, 8n)]);
});
