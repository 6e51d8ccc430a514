// deno task vm deno run -A bench/vm/address_spaces.ts
//
// What a call costs on the kinds of real host, in microseconds, medians, by the size of a mapping: the reason for what
// `Iommufd` does by default. Runs in the VM (its own way of invalidating included); with a kernel that has iommufd, see
// GIOMMU_VM_KERNEL.
import { RamRegion } from "@giommu/memory-api";
import { Iommufd, LinuxVfio, PinnedMemory } from "@giommu/vfio-linux";

const DEVICE = "0000:00:04.0";
const SIZES = [["4 KiB", 12], ["64 KiB", 16], ["2 MiB", 21], ["64 MiB", 26]] as const;
const KINDS = [
  ["type1", () => new LinuxVfio({ device: DEVICE })],
  ["iommufd", () => new Iommufd({ device: DEVICE })],
  ["iommufd, huge pages", () => new Iommufd({ device: DEVICE, hugePages: true })],
] as const;

for (const pages of ["small", "transparent"] as const) {
  using memory = new PinnedMemory({ size: 1n << 26n, pages });
  const ram = new RamRegion({ name: "ram", size: memory.size, memory });
  for (const [name, open] of KINDS) {
    using host = open();
    for (const [text, shift] of SIZES) {
      const last = (1n << BigInt(shift)) - 1n;
      const map = (): void => host.map({ iova: { start: 0n, last }, gpa: 0n, perm: 3, ram, ramOffset: 0n });
      const times: Record<"map" | "unmap" | "cut" | "again", number[]> = { map: [], unmap: [], cut: [], again: [] };
      const page = { start: (last + 1n) / 2n & ~0xfffn, last: ((last + 1n) / 2n & ~0xfffn) + 0xfffn };
      for (let turn = 0; turn < (shift > 21 ? 7 : 50); turn++) {
        timed(times.map, map);
        if (shift > 12) {
          // One page goes and another comes: at once where the host splits, by taking everything away elsewhere.
          timed(times.cut, () => {
            if (host.info.split === "atomic") return void host.unmap(page);
            host.unmap({ start: 0n, last });
            host.map({ iova: { start: 0n, last: page.start - 1n }, gpa: 0n, perm: 3, ram, ramOffset: 0n });
            const rest = page.last + 1n;
            host.map({ iova: { start: rest, last }, gpa: 0n, perm: 3, ram, ramOffset: rest });
          });
          timed(times.again, () => host.map({ iova: page, gpa: 0n, perm: 3, ram, ramOffset: page.start }));
        }
        timed(times.unmap, () => host.unmap({ start: 0n, last }));
      }
      console.log(
        `${pages.padEnd(12)} ${name.padEnd(20)} ${text.padEnd(8)} map ${show(times.map)}  unmap ${
          show(times.unmap)
        }  ` +
          `take a page out ${show(times.cut)}  put one in ${show(times.again)}`,
      );
    }
  }
}

function timed(into: number[], call: () => void): void {
  const start = performance.now();
  call();
  into.push((performance.now() - start) * 1000);
}

function show(times: number[]): string {
  const median = times.sort((a, b) => a - b)[times.length >> 1];
  return (median === undefined ? "-" : median.toFixed(0)).padStart(6);
}
