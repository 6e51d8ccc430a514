import { IommuError } from "@giommu/core";
import { AddressSpace, IommuMemoryRegion } from "@giommu/memory-api";
import { assertEquals, assertThrows } from "@std/assert";
import type { HostIommu, HostMapAllResult, HostMapping } from "./host_iommu.ts";
import { HostError } from "./host_error.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { VfioContainer } from "./vfio_container.ts";
import { verify } from "./verify.ts";

/** A simulated host that takes several maps at once, and notes how many came together. */
function batching(host: SimulatedHost): { host: HostIommu; batches: number[] } {
  const batches: number[] = [];
  const mapAll = (mappings: readonly HostMapping[]): HostMapAllResult => {
    batches.push(mappings.length);
    for (const [done, mapping] of mappings.entries()) {
      try {
        host.map(mapping);
      } catch (refusal) {
        if (refusal instanceof HostError) return { done, refusal };
        throw refusal;
      }
    }
    return { done: mappings.length };
  };
  return {
    batches,
    host: {
      info: host.info,
      map: (mapping) => host.map(mapping),
      unmap: (range) => host.unmap(range),
      mapAll,
      mappings: () => host.mappings(),
    },
  };
}

function bus(): AddressSpace {
  const iommu = new IommuMemoryRegion({
    name: "iommu",
    size: 0x8000n,
    translate: (iova) => ({
      iova: { start: iova & ~0xfffn, last: iova | 0xfffn },
      target: iova & ~0xfffn,
      perm: 3,
      pageSize: 0x1000n,
    }),
  });
  return new AddressSpace({ name: "bus", root: iommu });
}

Deno.test("a run of eight pages reaches a host that takes several maps as one batch of eight", () => {
  const simulated = new SimulatedHost({ rules: "type1" });
  const { host, batches } = batching(simulated);
  using space = bus();
  using container = new VfioContainer({ host, coalesce: "none" });
  assertEquals(container.attach(space).hostMaps, 8);
  assertEquals(batches, [8]);
  assertEquals(verify(container).agrees, true);
});

for (const failing of [0, 3, 7]) {
  Deno.test(`the map number ${failing} of a batch is refused, and the others are undone`, () => {
    const simulated = new SimulatedHost({ rules: "type1", failAt: [{ call: failing + 1, errno: "ENOMEM" }] });
    const { host } = batching(simulated);
    using space = bus();
    using container = new VfioContainer({ host, coalesce: "none" });
    const error = assertThrows(() => container.attach(space), IommuError);
    const start = BigInt(failing) << 12n;
    assertEquals([error.code, error.range], ["host-refused", { start, last: start + 0xfffn }]);
    assertEquals([simulated.size, container.size, container.failed], [0, 0, undefined]);
  });
}

Deno.test("a host that maps nothing and refuses nothing is not asked for ever", () => {
  const { host } = batching(new SimulatedHost({ rules: "type1" }));
  for (const done of [0, 9, 0.5]) {
    using space = bus();
    using container = new VfioContainer({ host: { ...host, mapAll: () => ({ done }) }, coalesce: "none" });
    const error = assertThrows(() => container.attach(space), IommuError, `mapAll did ${done} of 8 maps`);
    assertEquals([error.code, container.size], ["host-refused", 0]);
  }
});

Deno.test("the remedy that a host names reaches the caller", () => {
  const simulated = new SimulatedHost({ rules: "type1" });
  const host: HostIommu = {
    info: simulated.info,
    map: ({ iova }) => {
      throw new HostError("EFAULT", "MAP", iova, "test", "give it memory");
    },
    unmap: () => 0n,
  };
  using space = bus();
  using container = new VfioContainer({ host });
  assertEquals(assertThrows(() => container.attach(space), IommuError).remedy, "give it memory");
});
