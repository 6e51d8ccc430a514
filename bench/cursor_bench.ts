// Reading a table in JavaScript, 100 % scattered: every extent by a cursor, by a replay, and single translations. The first
// group reads 2^14 extents an iteration.
import { replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { TceTable } from "@giommu/spapr-tce";

const PAGES = 1 << 14;
const table = new TceTable({ liobn: 0x8000_0000, entries: PAGES });
const addresses = Array.from({ length: PAGES }, (_, page) => BigInt(page) << 12n);
for (const address of addresses) table.putTce(address, address << 1n | 3n);

/** What is read goes here, so that the reading cannot be left out. */
export let sum = 0;

Deno.bench("a cursor, fields as numbers", { group: "every extent", baseline: true }, () => {
  using extents = table.extentCursor();
  while (extents.next()) sum += extents.index + extents.pages + extents.perm + extents.targetLow + extents.targetHigh;
});

Deno.bench("a cursor, target as a bigint", { group: "every extent" }, () => {
  let last = 0n;
  using extents = table.extentCursor();
  while (extents.next()) last = extents.target;
  sum += Number(last);
});

const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => sum++ });
Deno.bench("a replay to a notifier", { group: "every extent" }, () => void replay(table.region, notifier));

let turn = 0;
const next = (): bigint => addresses[turn++ % PAGES] as bigint;
const finder = table.extentCursor();
Deno.bench("a cursor's find()", { group: "translate", baseline: true }, () => {
  if (finder.find(next())) sum += finder.targetLow;
});
Deno.bench("translate(), an object for each answer", { group: "translate" }, () => {
  sum += table.translate(next())?.perm ?? 0;
});
