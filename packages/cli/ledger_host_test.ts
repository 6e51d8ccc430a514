import { HostError, SimulatedHost } from "@giommu/vfio-sync";
import { assertEquals, assertThrows } from "@std/assert";
import { LedgerHost } from "./ledger_host.ts";

const page = (index: bigint): { start: bigint; last: bigint } => ({ start: index << 12n, last: index << 12n | 0xfffn });

Deno.test("the ledger holds what the host took, and nothing that it refused", () => {
  const host = new LedgerHost(new SimulatedHost({ rules: "type1" }));
  host.map({ iova: page(1n), gpa: 0x5000n, perm: 3 });
  assertThrows(() => host.map({ iova: page(1n), gpa: 0x6000n, perm: 3 }), HostError, "EEXIST");
  assertThrows(() => host.unmap({ start: 0x1000n, last: 0x17ffn }), HostError, "EINVAL");
  assertEquals([...host.mappings()].map(({ gpa }) => gpa), [0x5000n]);
  assertEquals([host.translate(0x1010n)?.gpa, host.unmap(page(1n)), [...host.mappings()]], [0x5010n, 0x1000n, []]);
});

Deno.test("several maps at once are noted as far as they were done, also for a host that takes one at a time", () => {
  const host = new LedgerHost(new SimulatedHost({ rules: "type1" }));
  const mappings = [1n, 2n, 3n].map((index) => ({ iova: page(index), gpa: 0n, perm: 3 } as const));
  assertEquals(host.mapAll(mappings), { done: 1 });
  assertEquals([...host.mappings()].length, 1);
});

Deno.test("pages that go, and those that come back, are remembered from when it watches on", () => {
  const host = new LedgerHost(new SimulatedHost());
  for (const index of [1n, 2n, 3n, 4n]) host.map({ iova: page(index), gpa: index << 12n, perm: 3 });
  host.unmap(page(1n));
  host.watch();
  host.unmap({ start: 0x2000n, last: 0x3fffn });
  host.map({ iova: page(2n), gpa: 0x9000n, perm: 1 });
  host.map({ iova: page(7n), gpa: 0x7000n, perm: 3 });
  assertEquals([...host.history], [[0x2000n, "changed"], [0x3000n, "unmapped"]]);
});
