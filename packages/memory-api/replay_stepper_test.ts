import { registerNotifier } from "./register_notifier.ts";
import type { IommuError } from "@giommu/core";
import type { IotlbEntry } from "@giommu/notifiers";
import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { IommuMemoryRegion, replay, replayAsync, replaySteps } from "./mod.ts";
import type { IommuMemoryRegionInit, ReplayProgress } from "./mod.ts";

const { MAP, UNMAP, IOTLB_EVENTS } = IommuNotifierFlag;

/** A guest IOMMU of pages of 4 KiB, in TypeScript, whose runs a table replay would find too. */
class Guest {
  readonly table = new Map<number, number>();
  readonly region: IommuMemoryRegion;

  constructor(pages: number, kind: "translate" | "hook" | "own") {
    const more: Partial<IommuMemoryRegionInit> = {};
    if (kind === "hook") more.nextMapped = (iova) => this.#next(iova);
    if (kind === "own") more.replay = ({ range }) => this.#runs(range.start, range.last);
    this.region = new IommuMemoryRegion({
      name: "guest",
      size: BigInt(pages) << 12n,
      translate: (iova) => this.entry(Number(iova >> 12n)),
      ...more,
    });
  }

  entry(n: number, target = this.table.get(n)): IotlbEntry | undefined {
    if (target === undefined) return undefined;
    const start = BigInt(n) << 12n;
    return {
      iova: { start, last: start + 0xfffn },
      target: BigInt(target) << 12n,
      perm: IommuPerm.READ_WRITE,
      pageSize: 0x1000n,
    };
  }

  /** What a guest call stores: 0 unmaps. */
  write(pages: ReadonlyMap<number, number>): void {
    const unmaps: IotlbEntry[] = [];
    const maps: IotlbEntry[] = [];
    for (const [n, target] of [...pages].sort(([a], [b]) => a - b)) {
      const old = this.entry(n);
      if ((this.table.get(n) ?? 0) === target) continue;
      if (target === 0) this.table.delete(n);
      else this.table.set(n, target);
      if (old !== undefined) unmaps.push(old);
      const next = this.entry(n);
      if (next !== undefined) maps.push(next);
    }
    assertEquals(this.region.change({ unmaps, maps }).status, "done");
  }

  #next(iova: bigint): bigint | undefined {
    const n = [...this.table.keys()].sort((a, b) => a - b).find((n) => (BigInt(n) << 12n) + 0xfffn >= iova);
    if (n === undefined) return undefined;
    return BigInt(n) << 12n > iova ? BigInt(n) << 12n : iova;
  }

  /** Reads ahead, as a table does that fills a batch. */
  *#runs(start: bigint, last: bigint): Generator<IotlbEntry> {
    const batch = [...this.table.keys()].sort((a, b) => a - b).map((n) => this.entry(n)).filter((e) => e !== undefined);
    for (const entry of batch) if (entry.iova.last >= start && entry.iova.start <= last) yield entry;
  }
}

/** Keeps an exact copy: no page is ever mapped twice, and none unmapped that is not there. */
class Copy {
  readonly pages = new Map<number, number>();
  readonly notifier: IommuNotifier;
  told = 0;

  constructor(range?: { start: bigint; last: bigint }) {
    this.notifier = new IommuNotifier({
      flags: IOTLB_EVENTS,
      ...(range !== undefined && { range }),
      notify: ({ type, iova, target }) => {
        this.told++;
        const first = Number(iova.start >> 12n);
        for (let n = first; n <= Number(iova.last >> 12n); n++) {
          if (type === MAP) {
            assert(!this.pages.has(n), `page ${n} was mapped twice`);
            this.pages.set(n, Number(target >> 12n) + n - first);
          } else {
            assert(type === UNMAP && this.pages.delete(n), `page ${n} was unmapped but not there`);
          }
        }
      },
    });
  }
}

const PAGES = 24;
const targets = fc.constantFrom(0, 0, 0x100, 0x101, 0x102, 0x200);
const write = fc.dictionary(fc.nat(PAGES - 1).map(String), targets, { minKeys: 1, maxKeys: 6 })
  .map((pages) => new Map(Object.entries(pages).map(([n, target]) => [Number(n), target])));
const runs = fc.array(fc.tuple(fc.nat(PAGES - 1), fc.integer({ min: 1, max: 6 })), { maxLength: 6 });
const range = fc.tuple(fc.nat(PAGES - 1), fc.nat(PAGES - 1)).map(([a, b]) => ({
  start: BigInt(Math.min(a, b)) << 12n,
  last: (BigInt(Math.max(a, b)) << 12n) + 0xfffn,
}));

for (const kind of ["translate", "hook", "own"] as const) {
  Deno.test(`property: writes between steps are told exactly once (IOMMU with ${kind})`, () => {
    fc.assert(
      fc.property(
        runs,
        fc.array(fc.tuple(fc.integer({ min: 1, max: 7 }), fc.array(write, { maxLength: 3 })), { maxLength: 20 }),
        fc.option(range, { nil: undefined }),
        (initial, steps, range) => {
          const guest = new Guest(PAGES, kind);
          for (const [start, length] of initial) {
            for (let n = start; n < Math.min(start + length, PAGES); n++) guest.table.set(n, 0x100 + n);
          }
          const copy = new Copy(range);
          using stepper = replaySteps(guest.region, copy.notifier, { register: true });
          for (const [budget, writes] of steps) {
            stepper.step(budget);
            for (const pages of writes) guest.write(pages);
          }
          let left = 200;
          while (!stepper.step(3).done) assert(left-- > 0, "the walk does not end");
          const first = Number((range?.start ?? 0n) >> 12n);
          const last = Number((range?.last ?? 0xffff_ffffn) >> 12n);
          const expected = [...guest.table].filter(([n]) => n >= first && n <= last).sort();
          assertEquals([...copy.pages].sort(), expected);
        },
      ),
      { numRuns: 1000 },
    );
  });

  Deno.test(`property: without writes a stepwise replay tells the same as one in one go (IOMMU with ${kind})`, () => {
    fc.assert(fc.property(runs, fc.integer({ min: 1, max: 9 }), (initial, budget) => {
      const guest = new Guest(PAGES, kind);
      for (const [start, length] of initial) {
        for (let n = start; n < Math.min(start + length, PAGES); n++) guest.table.set(n, 0x100 + n);
      }
      const whole = replay(guest.region, new Copy().notifier);
      const copy = new Copy();
      using stepper = replaySteps(guest.region, copy.notifier, { register: true });
      let progress: ReplayProgress;
      do progress = stepper.step(budget); while (!progress.done);
      const { pages, extents, steps } = progress;
      assertEquals({ pages, extents, steps }, whole);
      assertEquals(copy.told, extents);
    }));
  });
}

Deno.test("a guest that writes ahead at every step cannot keep a replay from its end", () => {
  const guest = new Guest(PAGES, "translate");
  for (let n = 0; n < PAGES; n++) guest.table.set(n, n + 1);
  const copy = new Copy();
  using stepper = replaySteps(guest.region, copy.notifier, { register: true });
  let steps = 0;
  while (!stepper.step(1).done) {
    guest.write(new Map([[PAGES - 1, 0x500 + steps]]));
    assert(++steps < 100);
  }
  assertEquals(new Map([...copy.pages].sort()), new Map([...guest.table].sort()));
});

Deno.test("an IOMMU that changes ahead whenever it is asked cannot keep a replay from its end", () => {
  const far = { iova: { start: 0x7000n, last: 0x7fffn }, target: 0n, perm: IommuPerm.READ, pageSize: 0x1000n };
  let asked = 0;
  const region: IommuMemoryRegion = new IommuMemoryRegion({
    name: "restless",
    size: 0x8000n,
    translate: () => {
      assert(++asked < 100);
      region.change({ unmaps: [far], maps: [far] });
      return undefined;
    },
  });
  using stepper = replaySteps(region, new Copy().notifier, { register: true });
  while (!stepper.step(2).done);
  assert(asked <= 16);
});

Deno.test("an aborted replay leaves nothing registered that it registered itself, and cannot go on", () => {
  const guest = new Guest(PAGES, "translate");
  const copy = new Copy();
  const stepper = replaySteps(guest.region, copy.notifier, { register: true });
  stepper.step(1);
  stepper.abort();
  stepper.abort();
  assertEquals(copy.notifier.registered, false);
  const error = assertThrows(() => stepper.step(1), Error, "region guest") as IommuError;
  assertEquals(error.code, "replay-aborted");
  registerNotifier(guest.region, copy.notifier);
  {
    using _second = replaySteps(guest.region, copy.notifier);
  }
  assertEquals(copy.notifier.registered, true, "it did not register it");
});

Deno.test("the end of a replay leaves the notifier registered", () => {
  const guest = new Guest(PAGES, "hook");
  const copy = new Copy();
  {
    using stepper = replaySteps(guest.region, copy.notifier, { register: true });
    assertEquals(stepper.step(1), { done: true, position: undefined, pages: 0n, extents: 0, steps: 1n });
    assertEquals(stepper.step(1).steps, 1n);
  }
  guest.write(new Map([[3, 7]]));
  assertEquals([...copy.pages], [[3, 7]]);
});

Deno.test("a budget is a whole number from 1 on", () => {
  using stepper = replaySteps(new Guest(1, "own").region, new Copy().notifier);
  for (const budget of [0, -1, 1.5, NaN, Infinity]) assertThrows(() => stepper.step(budget), RangeError, "budget");
});

Deno.test("a notifier that heard of changes before a replay is told all, and loses none", () => {
  const guest = new Guest(PAGES, "translate");
  const heard = new Map<number, number>();
  const notifier = new IommuNotifier({
    flags: IOTLB_EVENTS,
    notify: ({ type, iova, target }) => {
      const first = Number(iova.start >> 12n);
      for (let n = first; n <= Number(iova.last >> 12n); n++) {
        if (type === MAP) heard.set(n, Number(target >> 12n) + n - first);
        else heard.delete(n);
      }
    },
  });
  registerNotifier(guest.region, notifier);
  guest.write(new Map([[20, 5], [21, 9]]));
  using stepper = replaySteps(guest.region, notifier);
  stepper.step(4);
  guest.write(new Map([[20, 0], [2, 8]]));
  while (!stepper.step(4).done);
  assertEquals(new Map([...heard].sort()), new Map([...guest.table].sort()));
});

Deno.test("replayAsync() tells its progress and lets everything else go on", async () => {
  const guest = new Guest(PAGES, "translate");
  for (let n = 0; n < PAGES; n += 2) guest.table.set(n, n + 1);
  const copy = new Copy();
  const progress: ReplayProgress[] = [];
  const timer = setTimeout(() => guest.write(new Map([[1, 99], [PAGES - 1, 77]])), 0);
  const result = await replayAsync(guest.region, copy.notifier, {
    register: true,
    budget: 5,
    onProgress: (at) => void progress.push(at),
  });
  clearTimeout(timer);
  assertEquals(new Map([...copy.pages].sort()), new Map([...guest.table].sort()));
  assert(progress.length >= 5 && progress.at(-1)?.done === true && progress[0]?.done === false);
  assertEquals(result.pages, progress.at(-1)?.pages);
});

Deno.test("replayAsync() rejects with the signal's reason and leaves nothing registered", async () => {
  const guest = new Guest(PAGES, "translate");
  const copy = new Copy();
  const controller = new AbortController();
  const reason = new Error("unplugged");
  const done = replayAsync(guest.region, copy.notifier, {
    register: true,
    budget: 1,
    signal: controller.signal,
    onProgress: () => controller.abort(reason),
  });
  const error = await assertRejects(() => done, Error, "region guest") as IommuError;
  assertEquals([error.code, error.cause, copy.notifier.registered], ["replay-aborted", reason, false]);
  await assertRejects(() => replayAsync(guest.region, copy.notifier, { signal: controller.signal }), Error, "aborted");
});

Deno.test("replayAsync() rejects when the notifier fails, and leaves nothing registered", async () => {
  const guest = new Guest(PAGES, "translate");
  guest.table.set(9, 1);
  const notifier = new IommuNotifier({
    flags: IOTLB_EVENTS,
    notify: () => {
      throw new Error("no room");
    },
  });
  await assertRejects(() => replayAsync(guest.region, notifier, { register: true, budget: 4 }), Error, "no room");
  assertEquals(notifier.registered, false);
});
