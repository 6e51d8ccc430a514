import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { SpaprPhb } from "@giommu/spapr-tce";
import { SparseGuestMemory } from "@giommu/testing";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
import { assertEquals } from "@std/assert";
import { ChangeWatch } from "./change_watch.ts";
import { checkDma } from "./dma_check.ts";
import { sampleDma } from "./dma_sample.ts";
import type { DmaDifference, DmaReport } from "./report.ts";
import { SimulatedPlug } from "./simulated_plug.ts";

const RAM = 1n << 30n;
/** A page that no entry points to, with something in it. */
const ELSEWHERE = 0x90_0000n;

function page(start: bigint) {
  return { start, last: start + 0xfffn };
}

/**
 * A guest with a page that changed in place (0x1000), one that went (0x2000), a neighbour (0x3000), a read-only (0x5000)
 * and a write-only one (0x7000); somebody changes the host behind the container's back, and the device is let loose.
 */
async function checked(
  corrupt: (host: SimulatedHost, ram: RamRegion) => void,
  options: { readonly most?: number; readonly isWidened?: boolean } = {},
): Promise<DmaReport> {
  const { most = 4, isWidened = false } = options;
  const memory = new SparseGuestMemory(RAM);
  const ram = new RamRegion({ name: "ram", size: RAM, memory });
  using system = new AddressSpace({ name: "memory", root: ram });
  using phb = new SpaprPhb({ index: 0, memory: system });
  const table = phb.defaultWindow;
  for (const [ioba, tce] of [[0x1000n, 0x1_0003n], [0x2000n, 0x1_1003n], [0x3000n, 0x1_2003n]] as const) {
    table.putTce(ioba, tce);
  }
  table.putTce(0x5000n, 0x2_0001n);
  table.putTce(0x7000n, 0x3_0002n);
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(phb.space);
  using watch = new ChangeWatch(phb.space, (range) => container.mappings(range));
  table.putTce(0x1000n, 0x4_0003n);
  table.putTce(0x2000n, 0n);
  memory.write(ELSEWHERE, new Uint8Array([1]));
  corrupt(host, ram);
  const plug = new SimulatedPlug({
    rules: "none",
    choice: { hostPageShift: undefined, iovaRanges: [], maxMappings: undefined },
    ram: undefined,
    hasBytes: false,
  });
  using engine = await plug.dmaEngine.call({ host });
  const sample = sampleDma(phb.space, watch, most);
  const report = await checkDma(engine, { space: phb.space, memory, isWidened }, sample);
  for (const map of [...host.mappings()]) host.unmap(map.iova); // else the container finds less than it mapped, or more
  for (const map of container.mappings()) host.map(map);
  return report;
}

function told(differences: readonly DmaDifference[]): string[] {
  return differences.map(({ iova, access, found }) => `${access} ${iova.toString(16)}: ${found}`);
}

Deno.test("A host that is in step lets through what the table allows, and nothing else", async () => {
  const { checked: accesses, agreed, refused, missed, differences } = await checked(() => {});
  assertEquals([agreed, missed, differences], [accesses, [], []]);
  // A write to the read-only page, a read of the write-only one, both of the page that went, reads of three empty ones beside.
  assertEquals(refused, 4 + 3);
});

Deno.test("An entry that changed in place and is lost on the host, as QEMU loses it, is found by read and by write", async () => {
  const { differences, kinds } = await checked((host, ram) => {
    host.unmap(page(0x1000n));
    host.map({ iova: page(0x1000n), gpa: 0x1_0000n, perm: 3, ram, ramOffset: 0x1_0000n });
  });
  assertEquals(told(differences), [
    "read 1000: arrived where the page was before",
    "write 1000: arrived where the page was before",
  ]);
  assertEquals([differences[0]?.kinds.includes("changed-in-place"), kinds["changed-in-place"]?.checked], [true, 1]);
});

Deno.test("A page that the host does not let go is found, also where it is only read", async () => {
  const both = await checked((host, ram) =>
    host.map({ iova: page(0x2000n), gpa: 0x1_1000n, perm: 3, ram, ramOffset: 0x1_1000n })
  );
  assertEquals(told(both.differences), [
    "read 2000: arrived where the page was before",
    "write 2000: arrived where the page was before",
  ]);
  const read = await checked((host, ram) =>
    host.map({ iova: page(0x2000n), gpa: 0x1_1000n, perm: 1, ram, ramOffset: 0x1_1000n })
  );
  assertEquals(told(read.differences), ["read 2000: arrived where the page was before"]);
});

Deno.test("A live neighbour that went along, and a page that points elsewhere, are found", async () => {
  const gone = await checked((host) => void host.unmap(page(0x3000n)));
  assertEquals(told(gone.differences), ["read 3000: did not arrive", "write 3000: did not arrive"]);
  assertEquals(gone.differences[0]?.kinds, ["read-write", "neighbour"]);
  const elsewhere = await checked((host, ram) => {
    host.unmap(page(0x3000n));
    host.map({ iova: page(0x3000n), gpa: ELSEWHERE, perm: 3, ram, ramOffset: ELSEWHERE });
  });
  assertEquals(told(elsewhere.differences), ["read 3000: arrived elsewhere", "write 3000: did not arrive"]);
});

Deno.test("More permission than the guest gave is found, but for reads where the host has no write-only mappings", async () => {
  const widen = (host: SimulatedHost, ram: RamRegion) => {
    for (const [iova, gpa] of [[0x5000n, 0x2_0000n], [0x7000n, 0x3_0000n]] as const) {
      host.unmap(page(iova));
      host.map({ iova: page(iova), gpa, perm: 3, ram, ramOffset: gpa });
    }
  };
  assertEquals(told((await checked(widen)).differences), [
    "write 5000: arrived, which the guest does not allow",
    "read 7000: arrived, which the guest does not allow",
  ]);
  assertEquals(told((await checked(widen, { isWidened: true })).differences), [
    "write 5000: arrived, which the guest does not allow",
  ]);
});

Deno.test("A kind of which no page was looked at is named", async () => {
  const { missed, checked: accesses } = await checked(() => {}, { most: 0 });
  assertEquals(accesses, 0);
  assertEquals(missed, [
    "first",
    "last",
    "read-write",
    "read-only",
    "write-only",
    "changed-in-place",
    "neighbour",
    "unmapped",
    "empty",
  ]);
});
