// deno run examples/whole_space.ts
//
// A region of 2^64 bytes. The loop that QEMU's review stumbled over ("addr < size; addr += granularity" wraps to 0 and
// starts again) has to end here, and to tell of the very last page.
import { hex } from "@giommu/core";
import { IommuMemoryRegion, replay, replaySteps } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, IommuPerm, type IotlbEntry } from "@giommu/notifiers";
import { TceTable } from "@giommu/spapr-tce";

const listener = new IommuNotifier({
  flags: IommuNotifierFlag.MAP,
  notify: ({ iova, target }) => console.log(`    ${hex(iova.start)} .. ${hex(iova.last)} -> ${hex(target)}`),
});

function timed(what: string, work: () => { pages: bigint; steps: bigint }): void {
  const begin = performance.now();
  const { pages, steps } = work();
  const milliseconds = (performance.now() - begin).toFixed(2);
  console.log(`  ${what}: ${pages} pages, ${steps} steps, ${milliseconds} ms\n`);
}

console.log("A TCE table of 2^31 entries of 8 GiB, that is 2^64 bytes, with one entry at each end:");
using table = new TceTable({ liobn: 0x8000_0000, entries: 2 ** 31, pageShift: 33 });
table.putTce(0n, 0x3n);
table.putTce(0xffff_fffe_0000_0000n, 0x6_0000_0003n);
timed("replayed", () => replay(table.region, listener));

console.log("The same size as an IOMMU that can only translate, but knows which address is mapped next:");
const pages = [0x1000n, 0x7fff_ffff_ffff_f000n, 0xffff_ffff_ffff_f000n];
const entry = (start: bigint): IotlbEntry => ({
  iova: { start, last: start + 0xfffn },
  target: start & 0xffff_ffffn,
  perm: IommuPerm.READ,
  pageSize: 0x1000n,
});
const find = (iova: bigint) => pages.find((start) => start === (iova & ~0xfffn));
const sparse = new IommuMemoryRegion({
  name: "sparse",
  size: 1n << 64n,
  translate: (iova) => find(iova) === undefined ? undefined : entry(iova & ~0xfffn),
  nextMapped: (iova) => pages.find((start) => start + 0xfffn >= iova),
});
timed("replayed", () => replay(sparse, listener));

console.log("Without that knowledge every page has to be asked for; such a walk goes in steps, and can be given up:");
const dense = new IommuMemoryRegion({ name: "dense", size: 1n << 64n, translate: () => undefined });
using stepper = replaySteps(dense, listener);
timed("100,000 of 4,503,599,627,370,496 steps done, then aborted", () => stepper.step(100_000));
