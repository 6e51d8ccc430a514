// deno run examples/custom_iommu.ts
//
// An IOMMU of one's own in thirty lines: it says how addresses translate, and everything else follows: notifiers, replay,
// cropping, changes that nobody misses. This one adds a constant, for as many pages as the guest has enabled.
import { hex } from "@giommu/core";
import { IommuMemoryRegion, registerNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, IommuPerm, type IotlbEntry } from "@giommu/notifiers";

const PAGE = 0x1000n;
let enabledPages = 3n;

/** What one address translates to. */
function entryFor(iova: bigint): IotlbEntry | undefined {
  const start = iova & ~(PAGE - 1n);
  if (start / PAGE >= enabledPages) return undefined;
  const range = { start, last: start + PAGE - 1n };
  return { iova: range, target: 0x8000_0000n + start, perm: IommuPerm.READ_WRITE, pageSize: PAGE };
}

const iommu = new IommuMemoryRegion({ name: "offset", size: 0x10_0000n, translate: entryFor });

const shadow = new IommuNotifier({
  flags: IommuNotifierFlag.IOTLB_EVENTS,
  notify({ type, iova, target }) {
    const what = type === IommuNotifierFlag.MAP ? `MAP    -> ${hex(target)}` : "UNMAP";
    console.log(`  ${hex(iova.start).padStart(8)} .. ${hex(iova.last).padStart(8)}  ${what}`);
  },
});

console.log("A device joins; it is told what is mapped already, three neighbouring pages as one run:");
const told = registerNotifier(iommu, shadow, { replay: true });
console.log(`  (${told?.pages} pages in ${told?.extents} extent, ${told?.steps} addresses looked at)`);

console.log("The guest enables one page more; whoever listens is told at once:");
enabledPages = 4n;
iommu.change({ unmaps: [], maps: [entryFor(3n * PAGE)!] });

console.log("The guest takes all of them away:");
const gone = [0n, 1n, 2n, 3n].map((page) => entryFor(page * PAGE)!);
enabledPages = 0n;
iommu.change({ unmaps: gone, maps: [] });
