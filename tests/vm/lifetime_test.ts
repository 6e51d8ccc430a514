/** What goes in which order, and what is left: nothing. */

import { IommuError } from "@giommu/core";
import { PinnedMemory } from "@giommu/vfio-linux";
import { HostError, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Guest } from "./guest.ts";
import { KernelLog, pagesAfter } from "./kernel_log.ts";
import { BACKENDS, DEVICE, firstEdu, hostTest, OTHER_DEVICE, vmTest } from "./vm.ts";

/** Open files, mappings of memory, and pinned kilobytes of this process. */
function held(): { files: number; maps: number; pinned: number } {
  const status = Deno.readTextFileSync("/proc/self/status");
  return {
    files: [...Deno.readDirSync("/proc/self/fd")].length,
    maps: Deno.readTextFileSync("/proc/self/maps").split("\n").length,
    pinned: Number(/^VmLck:\s+(\d+)/m.exec(status)?.[1] ?? 0) + Number(/^VmPin:\s+(\d+)/m.exec(status)?.[1] ?? 0),
  };
}

hostTest("1,000 times a device is plugged and unplugged: no file, no mapping, no pinned page is left", ({ open }) => {
  using guest = new Guest();
  for (let index = 0n; index < 8n; index++) guest.map(0x1_0000n + index * 0x3000n, 0x20_0000n + index * 0x1000n);
  using log = new KernelLog();
  const cycle = (): void => {
    using host = open();
    using container = new VfioContainer({ host });
    assertEquals(container.attach(guest.phb.space).pages, 8n);
    container.detach();
  };
  for (let warm = 0; warm < 20; warm++) cycle();
  log.take();
  const before = held();
  for (let count = 0; count < 10; count++) {
    for (let index = 0; index < 100; index++) cycle();
    assertEquals(pagesAfter(log.take()), []);
  }
  const after = held();
  assertEquals([after.files, after.pinned], [before.files, before.pinned]);
  // JavaScript's own heap comes and goes.
  assert(after.maps < before.maps + 50, `${after.maps} mappings of memory, before ${before.maps}`);
});

hostTest("a device is plugged and unplugged in a container that stays", ({ open }) => {
  using guest = new Guest();
  guest.map(0x1_0000n, 0x20_0000n);
  using host = open();
  using container = new VfioContainer({ host });
  container.attach(guest.phb.space);
  const before = held();
  for (let count = 0; count < 50; count++) {
    const device = host.addDevice(OTHER_DEVICE);
    container.attach(guest.phb.space);
    container.detach();
    device.dispose();
  }
  assertEquals(held().files, before.files);
  // Even without any device, and again with the first.
  host.devices[0]?.dispose();
  assertEquals(host.devices, []);
  host.addDevice(DEVICE);
  guest.map(0x1_1000n, 0x20_1000n);
  assertEquals(container.size, 2);
});

hostTest(
  "memory that goes away while it is mapped stays until it is unmapped, and cannot be mapped again",
  async ({ open }) => {
    using guest = new Guest();
    const scratch = guest.scratch();
    guest.map(0x1_0000n, 0x20_0000n);
    using host = open();
    using container = new VfioContainer({ host });
    container.attach(guest.phb.space);
    using edu = firstEdu(host, scratch);
    guest.memory.dispose();
    // The device writes into pages that nobody else has.
    await assertDisposed(() => edu.write(0x1_0000n, 1n));
    const { ret } = guest.table.putTce(0x1_1000n, 0x20_1003n);
    assertEquals([ret, container.failed], [-44, undefined]);
    container.detach();
    assertEquals(container.size, 0);
  },
);

hostTest("a region that is still mapped keeps the device busy, and the error says so", ({ name, open }) => {
  const first = open();
  const [device] = first.devices;
  assert(device !== undefined);
  using region = device.bar(0).map();
  first.dispose();
  const id = new Uint8Array(4);
  region.read(0n, id);
  // edu's identification; without power it reads as ones.
  assert(id[0] === 0xed || id[0] === 0xff);
  const error = assertThrows(() => open().dispose(), IommuError);
  assertEquals(error.code, "backend-unavailable");
  // EINVAL is how iommufd says that another file of the device is in use.
  assert(error.message.endsWith(name === "type1" ? "EBUSY" : "EINVAL"), error.message);
  assert(error.remedy?.includes("mapped regions"), error.remedy);
  region.dispose();
  open().dispose();
});

hostTest("after dispose everything says so, and twice is fine", ({ open }) => {
  using memory = new PinnedMemory({ size: 0x1000n });
  const host = open();
  const [device] = host.devices;
  assert(device !== undefined);
  const region = device.bar(0);
  host.dispose();
  host.dispose();
  device.dispose();
  for (const use of [() => device.busMaster, () => region.read(0n, new Uint8Array(4)), () => host.addDevice(DEVICE)]) {
    assertEquals(assertThrows(use, IommuError).code, "disposed");
  }
  const iova = { start: 0n, last: 0xfffn };
  assertEquals(assertThrows(() => host.unmap(iova), HostError).errno, "EBADF");
  assertEquals(host.devices, []);
  memory.dispose();
  memory.dispose();
  assertEquals(assertThrows(() => memory.read(0n, new Uint8Array(1)), IommuError).code, "disposed");
});

hostTest("a device that somebody else has is refused by name", ({ open }) => {
  using _host = open();
  for (const other of BACKENDS) {
    const error = assertThrows(() => other.open().dispose(), IommuError);
    assertEquals(error.code, "backend-unavailable");
    assert(error.remedy !== undefined, error.message);
  }
});

hostTest("a process that is killed leaves nothing mapped, and the device is free", async ({ name, open }) => {
  using log = new KernelLog();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", new URL("killed.ts", import.meta.url).pathname, name],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  assertEquals(new TextDecoder().decode(value).trim(), "mapped");
  const mapped = pagesAfter(log.take());
  assertEquals(mapped.length, 64);
  child.kill("SIGKILL");
  await child.status;
  await reader.cancel();
  assertEquals(pagesAfter(log.take(), mapped), []);
  open().dispose();
});

vmTest("memory is there in every kind of pages that the kernel has, and says what is missing for the others", () => {
  for (const init of [{}, { pages: "transparent" }, { shared: true }] as const) {
    using memory = new PinnedMemory({ size: 0x5000n, ...init });
    assert(memory.write(memory.size - 2n, new Uint8Array([1, 2])));
    assert(!memory.write(memory.size - 1n, new Uint8Array([1, 2])));
    const bytes = new Uint8Array(2);
    assert(memory.read(memory.size - 2n, bytes));
    assertEquals([...bytes], [1, 2]);
  }
  const error = assertThrows(() => new PinnedMemory({ size: 0x4000_0000n, pages: "2M" }), IommuError);
  assertEquals(error.code, "backend-unavailable");
  assert(error.remedy?.includes("nr_hugepages"), error.remedy);
  Deno.writeTextFileSync("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8");
  using huge = new PinnedMemory({ size: 0x1n, pages: "2M", shared: true });
  assertEquals(huge.size, 0x20_0000n);
});

async function assertDisposed(use: () => Promise<void>): Promise<void> {
  try {
    await use();
  } catch (error) {
    assert(error instanceof IommuError && error.code === "disposed", String(error));
    return;
  }
  throw new Error("Cannot tell that it was disposed: it was used");
}
