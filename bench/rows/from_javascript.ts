/** What the public API costs a program in JavaScript, with bigints that it holds already. */

import { ArrayGuestMemory, IommuMemoryRegion, registerNotifier, replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
import { type ExtentCursor, SpaprMachine, SpaprPhb, TceTable } from "@giommu/spapr-tce";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
import { atMost, missed, nanoseconds, published, type Row, timesPeer, withinPeer } from "../measure.ts";
import type { Peer } from "../peer.ts";
import { threshold } from "./tables.ts";

const ENTRIES = 2 ** 16;
/** A call takes a microsecond at most: a million of them are plenty. */
const addresses = Array.from({ length: ENTRIES }, (_, page) => BigInt(page) << 12n);
const values = Array.from({ length: ENTRIES }, (_, page) => (BigInt(2 * page) << 12n) | 3n);
const zeros = Array.from(values, () => 0n);
/** How often what takes a millisecond is measured in a round, for the engine to compile it well. */
const SHORT = 16;

/** The peer's time for the same put; the table is small enough for the cache, as ours is. */
function peerPut(peer: Peer): () => Promise<number> {
  let map = 0;
  return async () => {
    await peer.ask("fill 16 1 0");
    const { nanoseconds } = await peer.ask(`put value sequential ${ENTRIES} ${map ^= 1}`);
    return nanoseconds / ENTRIES;
  };
}

function puts(peer: Peer | undefined): Row[] {
  const row = (metric: string, least: number | undefined, fill: (values: readonly bigint[]) => void): Row => {
    let map = false;
    return {
      group: "H_PUT_TCE from JavaScript, bigints held, per call",
      unit: "ns",
      repeats: metric.endsWith("container") ? 4 : SHORT,
      goals: least === undefined ? [published(metric)] : [missed(timesPeer(metric, least), .68)],
      ours: () => {
        map = !map;
        return nanoseconds(() => fill(map ? values : zeros)) / ENTRIES;
      },
      ...(peer !== undefined && { peer: peerPut(peer) }),
    };
  };
  const bridge = (): [TceTable, SpaprPhb] => {
    const phb = new SpaprPhb({ index: 0 });
    const [table] = phb.windows;
    if (table === undefined) throw new Error("a bridge has its default window");
    return [table, phb];
  };
  // Nothing is in a loop but what is measured: the call, with arguments that are read from lists.
  const putTo = (table: TceTable) => (values: readonly bigint[]) => {
    for (let page = 0; page < ENTRIES; page++) table.putTce(addresses[page] as bigint, values[page] as bigint);
  };
  const [alone] = bridge();
  const machine = new SpaprMachine({ ram: 1n << 20n, phbs: [{ index: 0 }] });
  const registers = new BigUint64Array(10);
  const [told] = bridge();
  const heard = new IommuNotifier({ flags: IommuNotifierFlag.IOTLB_EVENTS, notify: () => {} });
  registerNotifier(told.region, heard);
  const [mirrored, phb] = bridge();
  new VfioContainer({ host: new SimulatedHost({ rules: "iommufd" }) }).attach(phb.space);
  return [
    row("put from JavaScript", 1, putTo(alone)),
    row("put from JavaScript, by LIOBN", undefined, (values) => {
      for (let page = 0; page < ENTRIES; page++) {
        machine.putTce(0x8000_0000, addresses[page] as bigint, values[page] as bigint);
      }
    }),
    row("put from JavaScript, by registers", undefined, (values) => {
      for (let page = 0; page < ENTRIES; page++) {
        registers[0] = 0x20n;
        registers[1] = 0x8000_0000n;
        registers[2] = addresses[page] as bigint;
        registers[3] = values[page] as bigint;
        machine.hcallRegisters(registers);
      }
    }),
    row("put from JavaScript, one notifier", undefined, putTo(told)),
    row("put from JavaScript, one container", undefined, putTo(mirrored)),
  ];
}

/** A region of 2^64 bytes with 1000 mapped pages, written with `translate` and `nextMapped` alone. */
function wholeSpace(): Row {
  const step = (1n << 64n) / 1000n & ~0xfffn;
  const region = new IommuMemoryRegion({
    name: "whole space",
    size: 1n << 64n,
    translate: (iova) => {
      const start = iova & ~0xfffn;
      return start % step === 0n && start / step < 1000n
        ? {
          iova: { start, last: start + 0xfffn },
          target: start & 0xffff_f000n,
          perm: IommuPerm.READ_WRITE,
          pageSize: 0x1000n,
        }
        : undefined;
    },
    nextMapped: (iova) => {
      const next = (iova + step - 1n) / step;
      return next < 1000n ? next * step : undefined;
    },
  });
  const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
  return {
    group: "replay from JavaScript",
    unit: "ms",
    // As often as the engine needs to compile it well.
    repeats: 30,
    goals: [atMost("replay of 2^64 bytes with 1000 extents, an IOMMU written in JavaScript", 1, "ms")],
    ours: () =>
      nanoseconds(() => {
        const { pages } = replay(region, notifier);
        if (pages !== 1000n) throw new Error(`${pages} pages`);
      }) / 1e6,
  };
}

/** A window that fills the 64-bit space but for its last page: 2^32 - 1 pages of 4 GiB, 1000 of them mapped. */
function largestWindow(): Row {
  const table = new TceTable({ liobn: 0x8000_0000, entries: 0xffff_ffff, pageShift: 32 });
  for (let at = 0n; at < 1000n; at++) table.putTce((at * 4_294_967n) << 32n, (3n * at) << 32n | 3n);
  const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
  return {
    group: "replay from JavaScript",
    unit: "ms",
    // As often as the engine needs to compile it well.
    repeats: 30,
    goals: [atMost("replay of 2^64 bytes with 1000 extents, a window", 1, "ms")],
    ours: () =>
      nanoseconds(() => {
        const { pages } = replay(table.region, notifier);
        if (pages !== 1000n) throw new Error(`${pages} pages`);
      }) / 1e6,
  };
}

/** Adds up what every extent says. The sums are the function's own: those that a closure reaches are objects. */
function readExtents(extents: ExtentCursor): { pages: number; told: number } {
  let [pages, told] = [0, 0];
  while (extents.next()) {
    pages += extents.pages;
    told += extents.index + extents.targetLow + extents.targetHigh + extents.perm;
  }
  return { pages, told };
}

/** The same of the pages that addresses are on. */
function findAll(extents: ExtentCursor): number {
  let told = 0;
  for (let page = 0; page < ENTRIES; page++) {
    if (extents.find(addresses[page] as bigint)) told += extents.targetLow + extents.perm;
  }
  return told;
}

/** Every extent of a table that is full of single pages, read in JavaScript. */
function readAll(peer: Peer | undefined, shift: number): Row {
  const entries = 2 ** shift;
  const table = new TceTable({ liobn: 0x8000_0000, entries, entryLimit: entries });
  const memory = new ArrayGuestMemory(4096);
  const list = new DataView(memory.bytes.buffer);
  let filled = false;
  return {
    group: "replay from JavaScript",
    unit: "ns",
    repeats: 3,
    goals: [missed(timesPeer(`replay, scattered 100 % of 2^${shift}, every extent read in JavaScript`, .9), .36)],
    async before() {
      // Other rows fill the peer's table with something else.
      await peer?.ask(`fill ${shift} 1 ${threshold(100)}`);
      if (filled) return;
      filled = true;
      for (let first = 0; first < entries; first += 512) {
        for (let at = 0; at < 512; at++) list.setBigUint64(at * 8, (BigInt(2 * (first + at)) << 12n) | 3n);
        table.putTceIndirect(BigInt(first) << 12n, 0n, 512n, memory);
      }
    },
    ours: () => {
      let sum = { pages: 0, told: 0 };
      using extents = table.extentCursor();
      const time = nanoseconds(() => sum = readExtents(extents));
      if (sum.pages !== entries || sum.told === 0) throw new Error(`${sum.pages} pages`);
      return time / entries;
    },
    ...(peer !== undefined && { peer: async () => (await peer.ask("replay value")).nanoseconds / entries }),
  };
}

function translations(peer: Peer | undefined): Row[] {
  const table = new TceTable({ liobn: 0x8000_0000, entries: ENTRIES });
  for (const [page, address] of addresses.entries()) table.putTce(address, values[page] ?? 0n);
  const group = "translate from JavaScript, one call, per address";
  const peerTime = peer && (async () => {
    await peer.ask(`fill 16 1 ${threshold(100)}`);
    return (await peer.ask(`translate sequential ${ENTRIES}`)).nanoseconds / ENTRIES;
  });
  return [
    {
      group,
      unit: "ns",
      repeats: SHORT,
      goals: [missed(withinPeer("translate from JavaScript, by a cursor", 5), .14)],
      ours: () => {
        let told = 0;
        using found = table.extentCursor();
        const time = nanoseconds(() => told = findAll(found));
        if (told === 0) throw new Error("nothing");
        return time / ENTRIES;
      },
      ...(peerTime && { peer: peerTime }),
    },
    {
      group,
      unit: "ns",
      repeats: SHORT,
      goals: [published("translate from JavaScript, an object")],
      ours: () =>
        nanoseconds(() => {
          for (let page = 0; page < ENTRIES; page++) table.translate(addresses[page] as bigint);
        }) / ENTRIES,
      ...(peerTime && { peer: peerTime }),
    },
  ];
}

/** All rows of what JavaScript sees. */
export function javascriptRows(peer: Peer | undefined, large: number): Row[] {
  return [...puts(peer), largestWindow(), wholeSpace(), readAll(peer, large), ...translations(peer)];
}
