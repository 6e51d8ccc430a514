import { AddressSpace, IommuMemoryRegion, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { assert, assertEquals } from "@std/assert";
import { Backings } from "./_backings.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { verify } from "./verify.ts";
import { VfioContainer } from "./vfio_container.ts";

Deno.test("Backings forget what is not in use, and give no number twice", () => {
  const backings = new Backings();
  const [a, b] = [new RamRegion({ name: "a", size: 1n }), new RamRegion({ name: "b", size: 1n })];
  const numbers = [backings.number(a, 0n), backings.number(a, 5n), backings.number(b, 0n)];
  assertEquals(numbers, [1, 2, 3]);
  backings.retain(new Set([2]));
  assertEquals([1, 2, 3].map((number) => backings.get(number)?.ram), [undefined, a, undefined]);
  assertEquals([backings.number(a, 5n), backings.number(b, 0n), backings.number(a, 0n)], [2, 4, 5]);
  backings.clear();
  assertEquals([backings.get(2), backings.number(a, 5n)], [undefined, 6]);
});

Deno.test("RAM that is plugged and unplugged many times leaves nothing of it on the hosts", () => {
  const system = new MemoryRegion({ name: "system", size: 1n << 64n });
  system.addSubregion(0n, new RamRegion({ name: "ram", size: 0x10_0000n }));
  using memory = new AddressSpace({ name: "memory", root: system });
  const iommu = new IommuMemoryRegion({
    name: "iommu",
    size: 0x2000n,
    translate: (iova) => {
      const start = iova & ~0xfffn;
      return { iova: { start, last: start + 0xfffn }, target: start ? 0x100_0000n : 0n, perm: 3, pageSize: 0x1000n };
    },
  });
  using bus = new AddressSpace({ name: "bus", root: iommu, memory });
  using direct = new VfioContainer({ host: new SimulatedHost() });
  using translated = new VfioContainer({ host: new SimulatedHost() });
  direct.attach(memory);
  translated.attach(bus);
  const plug = (check: boolean) => {
    const dimm = new RamRegion({ name: "dimm", size: 0x10_0000n });
    system.addSubregion(0x100_0000n, dimm);
    if (check) {
      assertEquals([direct.size, translated.size], [2, 2]);
      assert(verify(direct).agrees && verify(translated).agrees);
    }
    system.removeSubregion(dimm);
  };
  for (let i = 0; i < 20; i++) plug(i === 0);
  assertEquals([direct.size, translated.size], [1, 1]);
  assert(verify(direct).agrees && verify(translated).agrees);
});
