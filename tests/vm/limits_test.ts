/** What a host cannot hold is refused before its first call, and says what would help. */

import { IommuError } from "@giommu/core";
import { VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Guest, READ, WRITE } from "./guest.ts";
import { KernelLog } from "./kernel_log.ts";
import { BACKENDS, hostTest, iommufdTest } from "./vm.ts";

const SCATTERED = 70_000;
const NOT_ENOUGH_RESOURCES = -44;

/** A guest that has mapped every other page. */
function scatteredGuest(): Guest {
  const guest = new Guest({ size: 0x10_0000n });
  for (let index = 0n; index < BigInt(SCATTERED); index++) {
    // Every other page of the bus; pages of memory are used again and again.
    guest.put(index * 0x2000n, ((index & 0x7fn) * 0x2000n) | READ | WRITE);
  }
  return guest;
}

hostTest(
  "70,000 scattered pages: refused where they do not fit, with nothing mapped; taken where they do",
  ({ open }) => {
    using guest = scatteredGuest();
    using host = open();
    using container = new VfioContainer({ host });
    const { maxMappings } = host.info;
    using log = new KernelLog();
    if (maxMappings === undefined) {
      const report = container.attach(guest.phb.space);
      assertEquals([report.pages, report.hostMaps, container.size], [BigInt(SCATTERED), SCATTERED, SCATTERED]);
      container.detach();
      assertEquals(container.size, 0);
      return;
    }
    const plan = container.plan(guest.phb.space);
    assertEquals(plan.refusal?.code, "mapping-limit");
    const error = assertThrows(() => container.attach(guest.phb.space), IommuError);
    assertEquals(error.code, "mapping-limit");
    assert(error.message.includes(String(maxMappings)), error.message);
    // The remedies in their order. No policy is one of them, as no two of these pages can share a mapping.
    assert(/iommufd.*dma_entry_limit.*larger IOMMU pages/s.test(error.remedy ?? ""), error.remedy);
    assert(!/"call"|"full"/.test(error.remedy ?? ""), error.remedy);
    assertEquals([log.take(), container.size], [[], 0]);
  },
);

hostTest("a guest that reaches the limit is told so, and both sides stay in step", ({ name, open }) => {
  if (name !== "type1") return assertEquals(BACKENDS.length, 3);
  // One page of memory, one table: as many mappings as the kernel takes, and one more.
  using guest = new Guest({ size: 0x10_0000n });
  using host = open();
  using container = new VfioContainer({ host });
  container.attach(guest.phb.space);
  const limit = host.info.maxMappings ?? 0;
  for (let index = 0n; index < BigInt(limit); index++) guest.put(index * 0x1000n, READ | WRITE);
  assertEquals(container.size, limit);
  const above = BigInt(limit) * 0x1000n;
  assertEquals(guest.table.putTce(above, READ).ret, NOT_ENOUGH_RESOURCES);
  assertEquals([guest.table.translate(above)?.perm ?? 0, container.size, container.failed], [0, limit, undefined]);
  guest.put(0n, 0n);
  guest.put(above, READ);
  assertEquals(container.size, limit);
});

hostTest(
  "sPAPR's 64-bit window lies outside of the IOVA ranges: refused, with the range and dma64_win_addr",
  ({ open }) => {
    using guest = new Guest();
    const window = guest.phb.addWindow({ busOffset: 1n << 59n, size: 0x1000_0000n, pageShift: 16 });
    assertEquals(window.putTce(1n << 59n, READ | WRITE).ret, 0);
    using host = open();
    using container = new VfioContainer({ host });
    using log = new KernelLog();
    const error = assertThrows(() => container.attach(guest.phb.space), IommuError);
    assertEquals([error.code, error.range?.start], ["iova-out-of-range", 1n << 59n]);
    assert(error.remedy?.includes("dma64_win_addr"), error.remedy);
    assertEquals([log.take(), container.size], [[], 0]);
  },
);

iommufdTest("a window where the host can map is taken whole", () => {
  const backend = BACKENDS.find(({ name }) => name === "iommufd");
  assert(backend !== undefined);
  using guest = new Guest();
  const window = guest.phb.addWindow({ busOffset: 1n << 40n, size: 0x1000_0000n, pageShift: 16 });
  assertEquals(window.stuffTce(1n << 40n, READ | WRITE, 16n).ret, 0);
  using host = backend.open();
  using container = new VfioContainer({ host });
  assertEquals(container.attach(guest.phb.space).pages, 16n);
});
