// deno run examples/two_notifiers.ts
//
// MAP and UNMAP told apart. A container mirrors every mapping and listens to both; a device with a translation cache of
// its own (vhost works so) fetches what it needs and listens to UNMAP alone, to know what to forget.
import { hex } from "@giommu/core";
import { registerNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { TceTable } from "@giommu/spapr-tce";

function printing(who: string, flags: IommuNotifierFlag): IommuNotifier {
  return new IommuNotifier({
    flags,
    notify: ({ type, iova, target }) =>
      console.log(
        type === IommuNotifierFlag.MAP
          ? `  ${who} MAP   ${hex(iova.start)}..${hex(iova.last)} -> ${hex(target)}`
          : `  ${who} UNMAP ${hex(iova.start)}..${hex(iova.last)}`,
      ),
  });
}

using table = new TceTable({ liobn: 0x8000_0000, entries: 0x4_0000 });
registerNotifier(table.region, printing("mirror", IommuNotifierFlag.IOTLB_EVENTS));
registerNotifier(table.region, printing("cache ", IommuNotifierFlag.UNMAP));

console.log("The guest maps a page:");
table.putTce(0x4000n, 0x10_0003n);
console.log("It points the page somewhere else, in place. That is an UNMAP, then a MAP (QEMU sends the MAP alone,");
console.log("which a host refuses with EEXIST, and the device goes on reading the old page):");
table.putTce(0x4000n, 0x20_0003n);
console.log("It stores the same once more. Nothing changed, so nobody is told.");
table.putTce(0x4000n, 0x20_0003n);
console.log("It clears sixteen entries, of which one was mapped. One UNMAP of one page:");
table.stuffTce(0n, 0n, 16n);
