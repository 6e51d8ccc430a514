import { AddressSpace, ArrayGuestMemory, RamRegion } from "@giommu/memory-api";
import { assertEquals, assertThrows } from "@std/assert";
import { EduDevice } from "./edu_device.ts";

Deno.test("EduDevice refuses transfers that its buffer cannot hold, and does nothing of them", () => {
  const memory = new ArrayGuestMemory(new Uint8Array(0x2000).fill(7));
  using bus = new AddressSpace({ name: "bus", root: new RamRegion({ name: "ram", size: 0x2000n, memory }) });
  const device = new EduDevice(bus);
  for (const [length, offset] of [[0x1001, 0], [1, 0x1000], [2, 0xfff], [-1, 0], [0.5, 0], [NaN, 0]] as const) {
    assertThrows(() => device.read(0n, length, offset), RangeError);
    assertThrows(() => device.write(0n, length, offset), RangeError);
  }
  assertEquals(device.buffer.every((byte) => byte === 0) && memory.bytes.every((byte) => byte === 7), true);
  device.read(0x1000n, 0x1000, 0);
  assertEquals(device.buffer.every((byte) => byte === 7), true);
});
