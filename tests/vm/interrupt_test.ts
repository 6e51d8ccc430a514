import { assert, assertEquals, assertThrows } from "@std/assert";
import { word } from "./word.ts";
import { hostTest } from "./vm.ts";

/** Registers of QEMU's edu device (docs/specs/edu.rst). */
const RAISE = 0x60n;
const ACKNOWLEDGE = 0x64n;

hostTest("interrupts of a device are counted, and no longer when nobody listens", async ({ open }) => {
  using host = open();
  const [device] = host.devices;
  assert(device !== undefined);
  assertEquals(device.interruptCount("msi"), 1);
  assertEquals(device.interruptCount("msix"), 0);
  // A message is a write of the device to memory.
  device.busMaster = true;
  const raise = (): void => {
    device.bar(0).write(RAISE, word(1n).subarray(0, 4));
    device.bar(0).write(ACKNOWLEDGE, word(1n).subarray(0, 4));
  };
  const interrupt = device.interrupt("msi");
  assertEquals(interrupt.take(), 0);
  raise();
  await new Promise((done) => setTimeout(done, 50));
  assertEquals(interrupt.take(), 1);
  assertThrows(() => device.interrupt("msi", 7));
  interrupt.dispose();
  raise();
  using again = device.interrupt("msi");
  assertEquals(again.take(), 0);
});
