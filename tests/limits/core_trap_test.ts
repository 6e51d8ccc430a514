import { IommuError } from "@giommu/core";
import { memory } from "@giommu/core/wasm/container";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { MAX_ENTRY_LIMIT, SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";

// A file of its own, as all containers of this realm are dead afterwards.
Deno.test("containers for which no memory is left are told as core-trapped, and leave tables alone", () => {
  const size = 1n << 36n;
  using phb = new SpaprPhb({ index: 0, dmaWindow: { size }, entryLimit: MAX_ENTRY_LIMIT });
  using other = new AddressSpace({ name: "other", root: new RamRegion({ name: "ram", size: 0x1000n }) });
  const table = phb.defaultWindow;
  table.stuffTce(0n, 3n, 1n << 15n); // every entry points to the same page: a mapping each
  let cutOff: IommuError | undefined;
  const container = new VfioContainer({
    host: new SimulatedHost({ rules: "type1", maxMappings: 1 << 30 }),
    cutOff: (error) => cutOff = error,
  });
  container.attach(phb.space);
  memory().grow(0x1_0000 - memory().buffer.byteLength / 0x1_0000); // nothing is left for the core
  const { error } = table.stuffTce(1n << 34n, 3n, 1n << 15n);
  assert(error instanceof IommuError);
  assertEquals(error.code, "core-trapped");
  assert(error.cause instanceof WebAssembly.RuntimeError);
  assertEquals(container.failed?.code, "core-trapped");
  assertEquals(cutOff?.code, "core-trapped");
  const uses = [
    () => container.size,
    () => new VfioContainer({ host: new SimulatedHost() }).attach(other),
  ];
  for (const use of uses) {
    const later = assertThrows(use, IommuError);
    assertEquals(later.code, "core-trapped");
    assertStrictEquals(later.cause, error.cause);
  }
  assertEquals(assertThrows(() => container.attach(phb.space), IommuError).code, "container-failed");
  assertEquals(assertThrows(() => container.dispose(), IommuError).code, "core-trapped"); // the host holds it all still
  container.dispose();
  assertEquals(table.putTce(0n, 0n).ret, 0);
  assertEquals(phb.space.listeners.length, 0);
});
