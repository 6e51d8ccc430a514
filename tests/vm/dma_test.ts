/** A device's DMA, through a guest's table, on the real kernel: it arrives where the table says now, and nowhere else. */

import { EduDevice } from "@giommu/vfio-linux";
import { VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { wordAt } from "./word.ts";
import { Guest, READ, WRITE } from "./guest.ts";
import { firstEdu, hostTest, OTHER_DEVICE } from "./vm.ts";

hostTest("a device that is plugged in late reads and writes where the guest's table says", async ({ open }) => {
  using guest = new Guest();
  const scratch = guest.scratch();
  const first = guest.map(0x1_0000n, 0x20_0000n);
  const second = guest.map(0x1_1000n, 0x20_1000n); // adjoins the first, on both sides
  const readOnly = guest.map(0x2_0000n, 0x30_0000n, READ);
  guest.map(0x2_1000n, 0x30_1000n, WRITE);

  using host = open();
  using container = new VfioContainer({ host });
  const report = container.attach(guest.phb.space);
  assertEquals(report.pages, 5n);
  using edu = firstEdu(host, scratch);

  assertEquals(await edu.read(0x1_0000n), first);
  assertEquals(await edu.read(0x1_1000n), second);
  await edu.write(0x1_1000n, 0x1234n);
  assertEquals(wordAt(guest.memory, 0x20_1000n), 0x1234n);

  assertEquals(await edu.read(0x2_0000n), readOnly);
  await edu.write(0x2_0000n, 0x5678n);
  assertEquals(wordAt(guest.memory, 0x30_0000n), readOnly, "a page that may only be read was written");

  await edu.write(0x2_1000n, 0x9abcn);
  assertEquals(wordAt(guest.memory, 0x30_1000n), 0x9abcn);
  // VT-d's driver makes write-only mappings readable: the host says so, and the container counts.
  const widened = host.info.writeOnly ? [0, undefined] : [1, 0x9abcn];
  assertEquals([report.widenedPages, await edu.read(0x2_1000n)], widened);

  assertEquals(await edu.read(0x5_0000n), undefined, "a page that is not mapped was read");
});

hostTest("a page that was empty when it was mapped to be read shows what the guest writes later", async ({ open }) => {
  // Kernels before 6.2 would pin the page of zeros that all processes share.
  for (const pages of ["small", "transparent"] as const) {
    using guest = new Guest({ pages });
    const scratch = guest.scratch();
    guest.put(0x1_0000n, 0x80_0000n | READ);
    using host = open();
    using container = new VfioContainer({ host });
    container.attach(guest.phb.space);
    guest.put(0x2_0000n, 0xa0_0000n | READ);
    using edu = firstEdu(host, scratch);
    const written = [guest.mark(0x80_0000n), guest.mark(0xa0_0000n)];
    assertEquals([await edu.read(0x1_0000n), await edu.read(0x2_0000n)], written);
  }
});

hostTest("changes reach the device before the guest's call returns, those in place too", async ({ open }) => {
  using guest = new Guest();
  const scratch = guest.scratch();
  const old = guest.map(0x1_0000n, 0x20_0000n);
  const neighbour = guest.map(0x1_1000n, 0x20_1000n);
  using host = open();
  using container = new VfioContainer({ host });
  container.attach(guest.phb.space);
  using edu = firstEdu(host, scratch);
  assertEquals(await edu.read(0x1_0000n), old);

  // In place: what QEMU loses, as a MAP over a mapping is EEXIST.
  const moved = guest.map(0x1_0000n, 0x40_0000n);
  assertEquals([await edu.read(0x1_0000n), await edu.read(0x1_1000n)], [moved, neighbour]);
  await edu.write(0x1_0000n, 0x77n);
  assertEquals([wordAt(guest.memory, 0x40_0000n), wordAt(guest.memory, 0x20_0000n)], [0x77n, old]);

  guest.map(0x1_0000n, 0x40_0000n, READ);
  await edu.write(0x1_0000n, 0x88n);
  assertEquals(wordAt(guest.memory, 0x40_0000n), moved, "a page that became read-only was written");

  guest.put(0x1_0000n, 0n);
  assertEquals([await edu.read(0x1_0000n), await edu.read(0x1_1000n)], [undefined, neighbour]);

  const came = guest.map(0x1_2000n, 0x20_2000n);
  assertEquals(await edu.read(0x1_2000n), came);
});

hostTest("a second device reaches the same, and the first one's unplug keeps it", async ({ open }) => {
  using guest = new Guest();
  const scratch = guest.scratch();
  const value = guest.map(0x1_0000n, 0x20_0000n);
  using host = open();
  using container = new VfioContainer({ host });
  container.attach(guest.phb.space);
  const other = host.addDevice(OTHER_DEVICE);
  assertEquals(container.attach(guest.phb.space).joined, true);
  using edu = new EduDevice(other, scratch);
  assertEquals(await edu.read(0x1_0000n), value);

  host.devices[0]?.dispose();
  container.detach();
  assertEquals(host.devices, [other]);
  assertEquals(await edu.read(0x1_0000n), value);
  const moved = guest.map(0x1_0000n, 0x40_0000n);
  assertEquals(await edu.read(0x1_0000n), moved);
});

hostTest(
  "after detach the device reaches nothing, after a new attach it reaches the table of then",
  async ({ open }) => {
    using guest = new Guest();
    const scratch = guest.scratch();
    guest.map(0x1_0000n, 0x20_0000n);
    using host = open();
    using container = new VfioContainer({ host });
    container.attach(guest.phb.space);
    using edu = firstEdu(host, scratch);
    await edu.write(0x1_0000n, 1n);
    container.detach();
    await edu.write(0x1_0000n, 2n);
    assertEquals(wordAt(guest.memory, 0x20_0000n), 1n, "DMA arrived after the detach");
    const moved = guest.map(0x1_0000n, 0x40_0000n);
    container.attach(guest.phb.space);
    assertEquals(await edu.read(0x1_0000n), moved);
  },
);

hostTest("a device whose bus mastering is off, or that was reset by its unplug, writes nothing", async ({ open }) => {
  using guest = new Guest();
  const scratch = guest.scratch();
  guest.map(0x1_0000n, 0x20_0000n);
  using host = open();
  using container = new VfioContainer({ host });
  container.attach(guest.phb.space);
  const [device] = host.devices;
  assert(device !== undefined);
  assertEquals(device.busMaster, false, "a device that was just opened may do DMA");
  using edu = new EduDevice(device, scratch);
  await edu.write(0x1_0000n, 1n);
  device.busMaster = false;
  await edu.write(0x1_0000n, 2n);
  assertEquals([device.busMaster, wordAt(guest.memory, 0x20_0000n)], [false, 1n]);
  device.busMaster = true;
  await edu.write(0x1_0000n, 3n);
  assertEquals(wordAt(guest.memory, 0x20_0000n), 3n);
});
