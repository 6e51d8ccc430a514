import { assertEquals, assertThrows } from "@std/assert";
import { pciAddress } from "./_pci.ts";

Deno.test("a PCI address is one with or without its domain", () => {
  assertEquals(pciAddress("device", "00:04.0"), "0000:00:04.0");
  assertEquals(pciAddress("device", "0001:AF:1f.7"), "0001:af:1f.7");
});

Deno.test("what is no PCI address reaches no path", () => {
  for (const wrong of ["", "00:04", "0000:00:20.0", "../0000:00:04.0", "0000:00:04.0/..", "0000:00:04.8", "vfio0"]) {
    assertThrows(() => pciAddress("device", wrong), RangeError, "no PCI address");
  }
  assertThrows(() => pciAddress("device", 4), TypeError);
});
