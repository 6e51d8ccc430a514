// deno run examples/vhost_consumer.ts
//
// A device that vhost drives translates addresses itself: it keeps what it was told in a cache and asks again on a miss.
// It needs no replay and no MAP events, only to hear what to forget, before the guest's call returns.
import { hex } from "@giommu/core";
import { AddressSpace, ArrayGuestMemory, RamRegion } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import { SpaprPhb } from "@giommu/spapr-tce";
import { UnmapOnlyConsumer } from "@giommu/vfio-sync";

const memory = new ArrayGuestMemory(0x10_0000);
using system = new AddressSpace("system", new RamRegion({ name: "ram", size: memory.size, memory }));
using phb = new SpaprPhb({ index: 0, memory: system });
const [table] = phb.windows;
if (table === undefined) throw new Error("a bridge has its default window");

using device = new UnmapOnlyConsumer(phb.space, {
  capacity: 4,
  invalidated: ({ start, last }) => console.log(`  (the device forgets ${hex(start)}..${hex(last)})`),
});

/** Writes bytes as a device does: each page by its own translation. */
function write(iova: bigint, text: string): void {
  const found = device.translate(iova, IommuPerm.WRITE);
  if (found === undefined) return console.log(`  write to ${hex(iova)}: faults`);
  memory.write(found.gpa, new TextEncoder().encode(text));
  console.log(
    `  write to ${hex(iova)}: arrives at ${hex(found.gpa)}; ${device.hits} hits, ${device.misses} misses so far`,
  );
}

console.log("A ring of two pages; the first access of each asks the table, the next ones do not:");
table.putTce(0x1000n, 0x4_0003n);
table.putTce(0x2000n, 0x5_0003n);
for (const iova of [0x1000n, 0x1800n, 0x2000n, 0x1010n]) write(iova, "x");

console.log("The guest maps a third page; nobody need be told of it:");
table.putTce(0x3000n, 0x6_0003n);
write(0x3000n, "x");

console.log("It moves the first page, and takes the second away:");
table.putTce(0x1000n, 0x7_0003n);
table.putTce(0x2000n, 0n);
write(0x1000n, "x");
write(0x2000n, "x");

const { hits, misses, invalidations } = device;
if (hits !== 2 || misses !== 5 || invalidations !== 2) {
  throw new Error(`${hits} hits, ${misses} misses, ${invalidations}`);
}
console.log("It is unplugged; what it forgets is all that the bus shows, the window and the bridge's interrupts:");
