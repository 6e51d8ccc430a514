import { IommuError } from "@giommu/core";
import type { IotlbEntry, IotlbEvent } from "@giommu/notifiers";
import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
import type { IommuNotifierInit } from "@giommu/notifiers";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { IommuMemoryRegion, registerNotifier, replay, replaySteps, unregisterNotifier } from "./mod.ts";
import type { IommuMemoryRegionInit } from "./mod.ts";

const ALL = 2n ** 64n;
const { READ, WRITE, READ_WRITE } = IommuPerm;
const { MAP, UNMAP, IOTLB_EVENTS } = IommuNotifierFlag;

function listening(more: Partial<IommuNotifierInit> = {}) {
  const heard: IotlbEvent[] = [];
  const notifier = new IommuNotifier({ flags: IOTLB_EVENTS, notify: (event) => void heard.push(event), ...more });
  return { notifier, heard, runs: () => heard.map(({ iova, target }) => [iova.start, iova.last, target]) };
}

function entry(start: bigint, target = start, pageSize = 0x1000n, perm: IommuPerm = READ_WRITE): IotlbEntry {
  return { iova: { start, last: start + pageSize - 1n }, target, perm, pageSize };
}

/** An IOMMU with the given entries, that counts how often it is asked. */
function iommu(size: bigint, entries: readonly IotlbEntry[], more: Partial<IommuMemoryRegionInit> = {}) {
  const probes: bigint[] = [];
  const region = new IommuMemoryRegion({
    name: "iommu",
    size,
    translate: (iova) => {
      probes.push(iova);
      return entries.find((entry) => entry.iova.start <= iova && iova <= entry.iova.last);
    },
    ...more,
  });
  return { region, probes };
}

/** The hook that says where the next mapping is. */
function hook(entries: readonly IotlbEntry[]): Partial<IommuMemoryRegionInit> {
  return {
    nextMapped: (iova) => {
      const found = entries.find((entry) => entry.iova.last >= iova);
      return found && (found.iova.start > iova ? found.iova.start : iova);
    },
  };
}

Deno.test("one notifier is told of every mapping, the registered others of none", () => {
  const { region } = iommu(0x8000n, [entry(0x1000n, 0xa000n), entry(0x2000n, 0xb000n), entry(0x5000n, 0n)]);
  const other = listening();
  registerNotifier(region, other.notifier);
  const late = listening();
  assertEquals(replay(region, late.notifier), { pages: 3n, extents: 2, steps: 8n });
  assertEquals(late.runs(), [[0x1000n, 0x2fffn, 0xa000n], [0x5000n, 0x5fffn, 0n]]);
  assert(late.heard.every((event) => event.type === MAP && event.pageSize === 0x1000n && Object.isFrozen(event)));
  assertEquals(other.heard, []);
});

Deno.test("the granularity is the region's minimum page size unless the caller gives one", () => {
  const { region, probes } = iommu(0x4_0000n, [], { minPageSize: () => 0x1_0000n });
  replay(region, listening().notifier);
  assertEquals(probes.splice(0), [0n, 0x1_0000n, 0x2_0000n, 0x3_0000n]);
  replay(region, listening().notifier, { granularity: 0x8000n });
  assertEquals(probes.length, 8);
});

Deno.test("without a minimum page size the granularity is 4 KiB", () => {
  const { region, probes } = iommu(0x3000n, []);
  replay(region, listening().notifier);
  assertEquals(probes, [0n, 0x1000n, 0x2000n]);
});

Deno.test("a granularity above the page size still reports every mapping", () => {
  const entries = [entry(0x3000n), entry(0x7000n), entry(0xf000n)];
  const { region } = iommu(0x1_0000n, entries);
  const { notifier, heard } = listening();
  assertEquals(replay(region, notifier, { granularity: 1n << 63n }).pages, 3n);
  assertEquals(heard.map((event) => event.iova.start), [0x3000n, 0x7000n, 0xf000n]);
});

Deno.test("a granularity is a power of two from 1 to 2^63", () => {
  const { region } = iommu(0x10n, [entry(0n, 0n, 4n)]);
  const { notifier } = listening();
  for (const granularity of [0n, -1n, 3n, 0x1800n, 1n << 64n]) {
    assertThrows(() => replay(region, notifier, { granularity }), RangeError, "granularity");
  }
  assertThrows(() => replay(region, notifier, { granularity: 4096 as unknown as bigint }), TypeError, "granularity");
  assertEquals(replay(region, notifier, { granularity: 1n }).steps, 13n);
});

Deno.test("an entry larger than the granularity is told once", () => {
  const big = entry(0x20_0000n, 0x4000_0000n, 0x20_0000n);
  const { region, probes } = iommu(0x60_0000n, [big]);
  const { notifier, runs } = listening();
  assertEquals(replay(region, notifier), { pages: 1n, extents: 1, steps: 1025n });
  assertEquals(runs(), [[0x20_0000n, 0x3f_ffffn, 0x4000_0000n]]);
  assertEquals(probes.length, 1025);
});

for (const size of [ALL, ALL - 1n]) {
  for (const granularity of [1n, 0x1000n, 1n << 63n]) {
    Deno.test(`a sparse region of ${size} bytes replays at granularity ${granularity}, its last page included`, () => {
      const entries = [entry(0n, 5n), entry(1n << 63n, 0n), entry(ALL - 0x1000n, 0x7000n)];
      const { region, probes } = iommu(size, entries, hook(entries));
      const { notifier, runs } = listening();
      assertEquals(replay(region, notifier, { granularity }).pages, 3n);
      assertEquals(runs().at(-1), [ALL - 0x1000n, size - 1n, 0x7000n]);
      assert(probes.length <= 6, `${probes.length} probes`);
    });
  }
  Deno.test(`a region of ${size} bytes full of huge entries needs no hook`, () => {
    const half = 1n << 63n;
    const { region } = iommu(size, [entry(0n, 0n, half), entry(half, 0n, half)], { minPageSize: () => half });
    const { notifier, heard } = listening();
    assertEquals(replay(region, notifier), { pages: 2n, extents: 2, steps: 2n });
    assertEquals(heard[1]?.iova.last, size - 1n);
  });
}

Deno.test("an empty region of 2^64 bytes with the hook takes one step", () => {
  const { region } = iommu(ALL, [], hook([]));
  assertEquals(replay(region, listening().notifier), { pages: 0n, extents: 0, steps: 1n });
});

Deno.test("what is told is cropped to the notifier's range and the caller's", () => {
  const { region, probes } = iommu(ALL, [entry(0n, 0x10_0000n, 0x1_0000n)]);
  const { notifier, heard } = listening({ range: { start: 0x1800n, last: 0x4fffn } });
  assertEquals(replay(region, notifier, { range: { start: 0n, last: 0x2fffn } }).pages, 1n);
  assertEquals(heard.map(({ iova, target }) => [iova, target]), [[{ start: 0x1800n, last: 0x2fffn }, 0x10_1800n]]);
  assertEquals(probes, [0x1800n]);
  assertEquals(replay(region, notifier, { range: { start: 0x5000n, last: 0x5fffn } }).steps, 0n);
});

Deno.test("pages that are told in part are counted", () => {
  const { region } = iommu(0x4000n, [entry(0x1000n), entry(0x2000n)]);
  const { notifier } = listening();
  assertEquals(replay(region, notifier, { range: { start: 0x1fffn, last: 0x2000n } }).pages, 2n);
});

Deno.test("entries that differ in page size, permission or target space are told apart", () => {
  const other = { name: "other" };
  const entries: IotlbEntry[] = [
    entry(0n),
    entry(0x1000n, 0x1000n, 0x1000n, READ),
    { ...entry(0x2000n, 0x2000n), targetSpace: other },
    { ...entry(0x3000n, 0x3000n), targetSpace: other },
    entry(0x4000n, 0x4000n, 0x4000n),
    entry(0x8000n, 0x8000n, 0x4000n),
  ];
  const { region } = iommu(0x1_0000n, entries);
  const { notifier, heard } = listening();
  assertEquals(replay(region, notifier).pages, 6n);
  assertEquals(heard.map(({ iova, pageSize, perm, targetSpace }) => [iova.start, pageSize, perm, targetSpace?.name]), [
    [0n, 0x1000n, READ_WRITE, undefined],
    [0x1000n, 0x1000n, READ, undefined],
    [0x2000n, 0x1000n, READ_WRITE, "other"],
    [0x4000n, 0x4000n, READ_WRITE, undefined],
  ]);
  assertEquals(heard[2]?.targetSpace, other);
});

Deno.test("sixteen adjoining 4 KiB entries are one event that says 4 KiB", () => {
  const { region } = iommu(0x1_0000n, Array.from({ length: 16 }, (_, n) => entry(BigInt(n) << 12n)));
  const { notifier, heard } = listening();
  assertEquals(replay(region, notifier), { pages: 16n, extents: 1, steps: 16n });
  assertEquals([heard[0]?.iova.last, heard[0]?.pageSize], [0xffffn, 0x1000n]);
});

Deno.test("a notifier that wants the runs of guest calls gets entries singly, as nobody knows the calls", () => {
  const { region } = iommu(0x4000n, [entry(0n), entry(0x1000n)]);
  const { notifier, heard } = listening({ runs: "call" });
  assertEquals([replay(region, notifier).extents, heard.length], [2, 2]);
});

Deno.test("a notifier that does not listen to MAP is told nothing", () => {
  const { region, probes } = iommu(0x4000n, [entry(0n)]);
  const { notifier, heard } = listening({ flags: UNMAP });
  assertEquals(replay(region, notifier), { pages: 0n, extents: 0, steps: 0n });
  assertEquals([heard, probes], [[], []]);
  assertEquals(registerNotifier(region, notifier, { replay: true })?.steps, 0n);
  assertEquals(notifier.registered, true);
});

Deno.test("the access that is asked for decides what is told", () => {
  const entries = [entry(0n, 0n, 0x1000n, READ), entry(0x1000n, 0n, 0x1000n, WRITE), entry(0x2000n)];
  const asked: number[] = [];
  const { region } = iommu(0x3000n, entries, {
    translate: (iova, access) => {
      asked.push(access);
      return entries[Number(iova >> 12n)];
    },
  });
  const { notifier, heard } = listening();
  assertEquals(replay(region, notifier, { access: WRITE }).pages, 2n);
  assertEquals(heard.map((event) => event.perm), [WRITE, READ_WRITE]);
  assertEquals(asked, [WRITE, WRITE, WRITE]);
});

Deno.test("the IOMMU index of the notifier is the one that is asked", () => {
  const { region } = iommu(0x1000n, [], { translate: (_iova, _access, index) => index === 2 ? entry(0n) : undefined });
  assertEquals(replay(region, listening({ iommuIndex: 2 }).notifier).pages, 1n);
  assertEquals(replay(region, listening().notifier).pages, 0n);
});

Deno.test("a replay fails when its notifier does, and what it told before stays told", () => {
  const { region } = iommu(0x8000n, [entry(0n), entry(0x2000n), entry(0x4000n)]);
  const told: bigint[] = [];
  const { notifier } = listening({
    notify: ({ iova }) => {
      if (iova.start === 0x2000n) throw new Error("no room");
      told.push(iova.start);
    },
  });
  assertThrows(() => replay(region, notifier), Error, "no room");
  assertEquals(told, [0n]);
});

Deno.test("register and replay: nothing is registered if the replay fails", () => {
  const { region } = iommu(0x8000n, [entry(0n)]);
  const { notifier } = listening({
    notify: () => {
      throw new IommuError("page-too-fine", "too fine");
    },
  });
  assertThrows(() => registerNotifier(region, notifier, { replay: true }), IommuError, "too fine");
  assertEquals([region.notifiers.size, notifier.registered], [0, false]);
});

Deno.test("register and replay: nothing is registered if an argument is bad", () => {
  const { region } = iommu(0x8000n, [entry(0n)]);
  const { notifier } = listening();
  assertThrows(() => registerNotifier(region, notifier, { replay: { granularity: 3n } }), RangeError);
  assertThrows(() => registerNotifier(region, notifier, { replay: { range: { start: 2n, last: 1n } } }), RangeError);
  const odd = iommu(0x1000n, [], { minPageSize: () => 5n }).region;
  assertThrows(() => registerNotifier(odd, notifier, { replay: true }), RangeError, "minPageSize");
  assertEquals([region.notifiers.size, notifier.registered], [0, false]);
});

Deno.test("register and replay: afterwards changes come live, once", () => {
  const entries = [entry(0n), entry(0x2000n)];
  const { region } = iommu(0x8000n, entries);
  const { notifier, runs } = listening();
  assertEquals(registerNotifier(region, notifier, { replay: true })?.pages, 2n);
  region.change({ unmaps: [], maps: [entry(0x5000n)] });
  assertEquals(runs(), [[0n, 0xfffn, 0n], [0x2000n, 0x2fffn, 0x2000n], [0x5000n, 0x5fffn, 0x5000n]]);
  assertEquals(unregisterNotifier(region, notifier), true);
});

Deno.test("a notifier may unregister itself from inside a replay, which then stops", () => {
  const { region } = iommu(0x8000n, [entry(0n), entry(0x2000n), entry(0x4000n)]);
  const { notifier, heard } = listening({
    notify: (event) => {
      heard.push(event);
      unregisterNotifier(region, notifier);
    },
  });
  assertEquals(registerNotifier(region, notifier, { replay: true })?.extents, 1);
  assertEquals([heard.length, region.notifiers.size], [1, 0]);
});

Deno.test("an IOMMU that answers with garbage is named, and never makes a loop", () => {
  const answers: [string, Partial<IommuMemoryRegionInit>, typeof Error][] = [
    ["elsewhere", { translate: () => entry(0x8000n) }, RangeError],
    ["reversed", { translate: () => ({ ...entry(0n), iova: { start: 0xfffn, last: 0n } }) }, RangeError],
    [
      "numbers",
      { translate: () => ({ ...entry(0n), iova: { start: 0, last: 1 } }) as unknown as IotlbEntry },
      TypeError,
    ],
    ["no page", { translate: () => ({ ...entry(0n), pageSize: 0n }) }, RangeError],
    ["null", { translate: () => null as unknown as undefined }, TypeError],
    ["back", { nextMapped: (iova) => iova - 1n }, RangeError],
    ["far", { nextMapped: () => ALL }, RangeError],
    ["number", { nextMapped: () => 5 as unknown as bigint }, TypeError],
    ["own backwards", { replay: () => [entry(0x1000n), entry(0n)] }, RangeError],
    ["own twice", { replay: () => [entry(0n), entry(0n)] }, RangeError],
    ["own overlap", { replay: () => [entry(0n, 0n, 0x2000n), entry(0x1000n)] }, RangeError],
    ["own nothing", { replay: () => undefined as unknown as [] }, TypeError],
    ["own numbers", { replay: () => [7] as unknown as IotlbEntry[] }, TypeError],
    [
      "own endless",
      {
        replay: function* () {
          while (true) yield { ...entry(0n), perm: IommuPerm.NONE };
        },
      },
      RangeError,
    ],
  ];
  for (const [name, more, type] of answers) {
    const { region } = iommu(0x4000n, [], { name: `broken ${name}`, ...more });
    const { notifier } = listening();
    const error = assertThrows(() => registerNotifier(region, notifier, { replay: true }), type) as Error;
    assert(error.message.includes(`region broken ${name}`), error.message);
    assertEquals(notifier.registered, false);
  }
});

Deno.test("a hook that points to what it was asked for does not stop the walk", () => {
  const { region, probes } = iommu(0x4000n, [], { nextMapped: (iova) => iova });
  assertEquals(replay(region, listening().notifier).steps, 4n);
  assertEquals(probes, [0n, 0x1000n, 0x2000n, 0x3000n]);
});

Deno.test("a hook that points beyond the region ends the walk", () => {
  const { region } = iommu(0x4000n, [], { nextMapped: () => 0x4000n });
  assertEquals(replay(region, listening().notifier).steps, 1n);
});

Deno.test("an IOMMU's own replay is asked for the range that matters, and cropped to it", () => {
  const asked: unknown[] = [];
  const { region } = iommu(0x1_0000n, [], {
    minPageSize: () => 0x1000n,
    replay({ range, runs, access, granularity }) {
      asked.push([range.start, range.last, runs, access, granularity]);
      return [
        entry(0n, 0n, 0x4000n),
        { ...entry(0x4000n), perm: IommuPerm.NONE },
        entry(0x5000n, 0x5000n, 0x1000n, READ),
        entry(0x6000n, 0x1_0000n, 0x8000n),
        entry(0x1_0000n),
      ];
    },
  });
  const { notifier, runs } = listening({ range: { start: 0x1000n, last: 0x8fffn }, runs: "call" });
  assertEquals(replay(region, notifier, { access: WRITE }), { pages: 2n, extents: 2, steps: 4n });
  assertEquals(runs(), [[0x1000n, 0x3fffn, 0x1000n], [0x6000n, 0x8fffn, 0x1_0000n]]);
  assertEquals(asked, [[0x1000n, 0x8fffn, "call", WRITE, 0x1000n]]);
});

Deno.test("an IOMMU's own replay is closed when it is not read to its end", () => {
  let closed = 0;
  const { region } = iommu(0x1_0000n, [], {
    *replay() {
      try {
        for (let n = 0n;; n++) yield entry(n << 13n);
      } finally {
        closed++;
      }
    },
  });
  const { notifier } = listening({
    notify: () => {
      throw new Error("enough");
    },
  });
  assertThrows(() => replay(region, notifier), Error, "enough");
  assertEquals(closed, 1);
  assertEquals(replay(region, listening().notifier, { range: { start: 0n, last: 0x3fffn } }).extents, 2);
  assertEquals(closed, 2);
});

Deno.test("a walk in progress keeps a second one to the same notifier away", () => {
  const { region } = iommu(0x8000n, [entry(0n)]);
  const { notifier } = listening();
  using _stepper = replaySteps(region, notifier);
  const error = assertThrows(() => replay(region, notifier), IommuError);
  assertEquals((error as IommuError).code, "replay-in-progress");
  assertThrows(() => registerNotifier(region, notifier, { replay: true }), IommuError);
  assertEquals(notifier.registered, false);
});

for (const kind of ["translate", "own"]) {
  Deno.test(`what the callback of a replay changes is told right, ahead and behind (IOMMU with ${kind})`, () => {
    const table = new Map<bigint, bigint>([[0n, 1n], [1n, 5n], [2n, 9n], [3n, 20n]]);
    const make = (n: bigint): IotlbEntry => entry(n << 12n, (table.get(n) ?? 0n) << 12n);
    const { region } = iommu(0x8000n, [], {
      translate: (iova) => table.has(iova >> 12n) ? make(iova >> 12n) : undefined,
      // Reads ahead, as one that fills batches does.
      ...(kind === "own" && {
        replay: ({ range }) =>
          [...table.keys()].filter((n) => n << 12n >= range.start).sort((a, b) => a < b ? -1 : 1).map(make),
      }),
    });
    const copy = new Map<bigint, bigint>();
    let once = true;
    const { notifier } = listening({
      notify: ({ type, iova, target }) => {
        for (let n = iova.start >> 12n; n <= iova.last >> 12n; n++) {
          if (type === MAP) copy.set(n, (target >> 12n) + n - (iova.start >> 12n));
          else assert(copy.delete(n), `page ${n} was unmapped but not there`);
        }
        if (!once) return;
        once = false;
        // Behind, in what was read already, and further on.
        const unmaps = [make(0n), make(1n), make(3n)];
        for (const n of [0n, 1n, 3n]) table.delete(n);
        table.set(3n, 33n);
        table.set(5n, 77n);
        region.change({ unmaps, maps: [make(3n), make(5n)] });
      },
    });
    registerNotifier(region, notifier, { replay: true });
    assertEquals(new Map([...copy].sort()), new Map([...table].sort()));
  });
}

Deno.test("a replay from inside the delivery of a change is refused, also where nothing is left to tell", () => {
  const page = entry(0x1000n);
  let mapped = true;
  const { region } = iommu(0x10000n, [], { translate: (iova) => mapped && iova >> 12n === 1n ? page : undefined });
  const { notifier: newcomer } = listening();
  const codes: unknown[] = [];
  const older = listening({
    flags: UNMAP,
    notify: () => {
      const error = assertThrows(() => registerNotifier(region, newcomer, { replay: true }), IommuError);
      codes.push(error.code);
    },
  });
  registerNotifier(region, older.notifier);
  mapped = false;
  assertEquals(region.change({ unmaps: [page], maps: [] }).status, "done");
  assertEquals([codes, newcomer.registered], [["change-in-progress"], false]);
});
