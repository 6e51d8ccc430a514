// Replay of a TCE table at several sizes and densities, through the public API: what a hotplug waits for.
import { replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { MAX_ENTRY_LIMIT, TceTable } from "@giommu/spapr-tce";

const listener = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });

function table(shift: number): TceTable {
  return new TceTable({ liobn: 0x8000_0000, entries: 2 ** shift, entryLimit: Math.min(2 ** shift, MAX_ENTRY_LIMIT) });
}

for (const shift of [18, 24, 31]) {
  const empty = table(shift);
  Deno.bench(`empty, 2^${shift} entries`, { group: "empty" }, () => void replay(empty.region, listener));
}

for (const shift of [12, 18, 22]) {
  const linear = table(shift);
  for (let first = 0; first < 2 ** shift; first += 512) {
    for (let page = first; page < first + 512; page++) linear.putTce(BigInt(page) << 12n, BigInt(page) << 12n | 3n);
  }
  Deno.bench(`one run of 2^${shift} pages`, { group: "one run" }, () => void replay(linear.region, listener));
}

for (const mapped of [512, 4096, 32768]) {
  const scattered = table(24);
  const step = 2 ** 24 / mapped;
  for (let page = 0; page < mapped; page++) scattered.putTce(BigInt(page * step) << 12n, BigInt(2 * page) << 12n | 3n);
  Deno.bench(`${mapped} single pages of 2^24`, { group: "scattered" }, () => void replay(scattered.region, listener));
}
