/** Parts of mappings go while a device uses the rest: what a guest did not change is reached at every moment. */

import { EduDevice } from "@giommu/vfio-linux";
import { VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { Guest, PAGE, READ, WRITE } from "./guest.ts";
import { KernelLog, pagesAfter } from "./kernel_log.ts";
import type { Backend } from "./vm.ts";
import { firstEdu, hostTest } from "./vm.ts";
import { word } from "./word.ts";

const FIRST = 0x10_0000n;
const PAGES = 64n;

/** A guest with a run of adjoining pages, each marked, as one call stored them. */
function guestWithRun(): { guest: Guest; page: (index: bigint) => bigint; value: (index: bigint) => bigint } {
  const guest = new Guest();
  for (let index = 0n; index < PAGES; index++) guest.map(FIRST + index * PAGE, 0x20_0000n + index * PAGE);
  return {
    guest,
    page: (index) => FIRST + index * PAGE,
    value: (index) => 0x6775_6573_0000_0000n | (0x20_0000n + index * PAGE),
  };
}

hostTest("a cut in a run removes exactly its pages from the kernel's page table", ({ open, split }) => {
  const { guest, page } = guestWithRun();
  using _ = guest;
  using host = open();
  using container = new VfioContainer({ host });
  using log = new KernelLog();
  const report = container.attach(guest.phb.space);
  // Where mappings can be split they are coalesced; else there is one per page.
  assertEquals(report.hostMaps, split === "atomic" ? 1 : Number(PAGES));
  let pages = pagesAfter(log.take());
  const all = Array.from({ length: Number(PAGES) }, (_, index) => (FIRST >> 12n) + BigInt(index));
  assertEquals(pages, all);

  guest.table.stuffTce(page(20n), 0n, 3n);
  const events = log.take();
  assertEquals(events.filter(({ call }) => call === "map"), [], "something was mapped again");
  pages = pagesAfter(events, pages);
  assertEquals(pages, all.filter((one) => one < (page(20n) >> 12n) || one > (page(22n) >> 12n)));

  // In place, in the middle of what is left: one page goes and comes, nothing else is touched.
  guest.map(page(40n), 0x50_0000n);
  const changed = log.take().map(({ call, iova }) => [call, iova.start, iova.last]);
  assertEquals(changed, [["unmap", page(40n), page(40n) + 0xfffn], ["map", page(40n), page(40n) + 0xfffn]]);

  container.detach();
  assertEquals(pagesAfter(log.take(), pages), []);
});

hostTest("the neighbours of pages that go or change are still read", async ({ open }) => {
  const { guest, page, value } = guestWithRun();
  using _ = guest;
  const scratch = guest.scratch();
  using host = open();
  using container = new VfioContainer({ host });
  container.attach(guest.phb.space);
  using edu = firstEdu(host, scratch);

  guest.put(page(10n), 0n);
  const moved = guest.map(page(20n), 0x50_0000n);
  guest.put(page(30n), (0x20_0000n + 30n * PAGE) | READ);
  const seen: (bigint | undefined)[] = [];
  for (const index of [0n, 9n, 10n, 11n, 19n, 20n, 21n, 29n, 30n, 31n, 63n]) seen.push(await edu.read(page(index)));
  const v = value;
  assertEquals(seen, [v(0n), v(9n), undefined, v(11n), v(19n), moved, v(21n), v(29n), v(30n), v(31n), v(63n)]);
});

hostTest("a device that reads while its neighbours come and go misses nothing", async ({ open }) => {
  const { guest, page } = guestWithRun();
  using _ = guest;
  const scratch = guest.scratch();
  using host = open();
  using container = new VfioContainer({ host });
  container.attach(guest.phb.space);
  using edu = firstEdu(host, scratch);

  const { lost, turns } = await storm(edu, page(32n), guest, 0x20_0000n + 32n * PAGE, (turn) => {
    const index = BigInt(turn % 15);
    // Around the page in the middle, on both sides of it.
    for (const at of [31n - index, 33n + index]) {
      guest.put(page(at), 0n);
      guest.put(page(at), (0x20_0000n + at * PAGE) | READ | WRITE);
    }
  });
  assertEquals([lost, container.counters.holes], [0, 0], `after ${turns} changes`);
});

hostTest("the same storm shows what is lost where a mapping goes and comes as a whole", async ({ open }) => {
  using guest = new Guest();
  using host = open();
  const map = (start: bigint, gpa: bigint, size: bigint): void =>
    host.map({ iova: { start, last: start + size - 1n }, gpa, perm: 3, ram: guest.ram, ramOffset: gpa });
  const size = PAGES * PAGE;
  map(FIRST, 0x20_0000n, size);
  map(0n, 0n, PAGE);
  using edu = firstEdu(host, { memory: guest.memory, offset: 0n, iova: 0n });
  const { lost } = await storm(edu, FIRST + 32n * PAGE, guest, 0x20_0000n + 32n * PAGE, () => {
    host.unmap({ start: FIRST, last: FIRST + size - 1n });
    map(FIRST, 0x20_0000n, size);
  });
  assert(lost > 0, "nothing was lost: the storm would not have shown holes");
});

hostTest(
  "with coalesce full on a host that does not split, holes are counted; elsewhere there are none",
  async (backend) => {
    const { guest, page, value } = guestWithRun();
    using _ = guest;
    const scratch = guest.scratch();
    using host = backend.open();
    using container = new VfioContainer({ host, coalesce: "full", allowDmaHoles: true });
    assertEquals(container.attach(guest.phb.space).hostMaps, 2);
    using edu = firstEdu(host, scratch);
    guest.put(page(10n), 0n);
    const { holes, exposedPages } = container.counters;
    assertEquals([holes, exposedPages], isWhole(backend) ? [1, Number(PAGES) - 1] : [0, 0]);
    assertEquals([await edu.read(page(9n)), await edu.read(page(10n))], [value(9n), undefined]);
  },
);

hostTest("a device that is stopped for a hole misses nothing, and goes on", async (backend) => {
  const { guest, page, value } = guestWithRun();
  using _ = guest;
  const scratch = guest.scratch();
  using host = backend.open();
  const [device] = host.devices;
  assert(device !== undefined);
  using container = new VfioContainer({
    host,
    coalesce: "full",
    quiesce: () => {
      device.busMaster = false;
      return () => {
        device.busMaster = true;
      };
    },
  });
  container.attach(guest.phb.space);
  using edu = new EduDevice(device, scratch);
  guest.put(page(10n), 0n);
  const { holes, exposedPages, quiesced } = container.counters;
  assertEquals([holes, exposedPages, quiesced], isWhole(backend) ? [1, 0, 1] : [0, 0, 0]);
  assertEquals([device.busMaster, await edu.read(page(9n)), await edu.read(page(10n))], [true, value(9n), undefined]);
});

/** Lets a device read a word again and again while something is done as fast as it can be; counts what did not arrive. */
async function storm(
  edu: EduDevice,
  iova: bigint,
  { memory }: Guest,
  gpa: bigint,
  act: (turn: number) => void,
): Promise<{ lost: number; turns: number }> {
  let turns = 0;
  let lost = 0;
  for (let reads = 0; reads < 12 || turns < 200; reads++) {
    // Another one each time: a read that is lost may leave the word of the last one.
    const expected = 0x7374_6f72_6d00_0000n | BigInt(reads);
    memory.write(gpa, word(expected));
    // The read happens at the end of the 100 ms that the device takes: it goes on until then, and over it.
    edu.start(iova);
    while (edu.busy) act(turns++);
    if (await edu.takeBuffer() !== expected) lost++;
  }
  return { lost, turns };
}

function isWhole({ split }: Backend): boolean {
  return split === "none";
}
