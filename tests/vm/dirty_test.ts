/** Which pages a device wrote: the kernel's own answer on an IOMMU that does not tell, which is every pinned page. */

import { RamRegion } from "@giommu/memory-api";
import { IommuError } from "@giommu/core";
import { LinuxVfio, PinnedMemory } from "@giommu/vfio-linux";
import { assertEquals, assertThrows } from "@std/assert";
import { DEVICE, vmTest } from "./vm.ts";

vmTest("type1: every pinned page is written, as long as it is tracked", () => {
  using memory = new PinnedMemory({ size: 0x10_0000n });
  const ram = new RamRegion({ name: "ram", size: memory.size, memory });
  using host = new LinuxVfio({ device: DEVICE });
  const map = (start: bigint, last: bigint): void =>
    host.map({ iova: { start, last }, gpa: 0n, perm: 3, ram, ramOffset: 0n });
  const all = { start: 0x10_0000n, last: 0x1f_ffffn };
  map(0x10_0000n, 0x10_1fffn);
  map(0x14_0000n, 0x14_2fffn);
  assertEquals(host.dirtyPageSizes & 0x1000n, 0x1000n);
  assertEquals(assertThrows(() => host.dirtyRanges(all), IommuError).code, "host-refused");

  host.startDirtyTracking();
  const written = [{ start: 0x10_0000n, last: 0x10_1fffn }, { start: 0x14_0000n, last: 0x14_2fffn }];
  assertEquals([host.dirtyRanges(all), host.dirtyRanges(all)], [written, written]);
  assertThrows(() => host.dirtyRanges({ start: 0x14_1000n, last: 0x14_1fffn }), IommuError, "EINVAL");
  assertThrows(() => host.dirtyRanges({ start: 0x800n, last: 0x17ffn }), RangeError);
  host.unmap({ start: 0x10_0000n, last: 0x10_1fffn });
  assertEquals(host.dirtyRanges(all), written.slice(1));
  host.stopDirtyTracking();
  assertThrows(() => host.dirtyRanges(all), IommuError, "EINVAL");
});
