import { IommuError } from "@giommu/core";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { IommuNotifier, IommuNotifierFlag, IommuPerm, mapEvent, NotifierList, unmapEvent } from "./mod.ts";
import type { IommuNotifierInit, IotlbEvent } from "./mod.ts";

const { MAP, UNMAP, DEVIOTLB_UNMAP, IOTLB_EVENTS, ALL } = IommuNotifierFlag;

function page(n: bigint, target = n + 0x100n) {
  return {
    iova: { start: n << 12n, last: (n << 12n) | 0xfffn },
    target: target << 12n,
    perm: IommuPerm.READ_WRITE,
    pageSize: 0x1000n,
  };
}

function listening(flags: IommuNotifierInit["flags"], more: Partial<IommuNotifierInit> = {}) {
  const heard: IotlbEvent[] = [];
  const notifier = new IommuNotifier({ flags, notify: (event) => void heard.push(event), ...more });
  return { notifier, heard };
}

function thrown(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  throw new Error("expected something to be thrown");
}

Deno.test("a notifier hears only the events whose flag it asked for", () => {
  const list = new NotifierList();
  const all = listening(ALL);
  const unmaps = listening(UNMAP);
  const maps = listening(MAP);
  const device = listening(DEVIOTLB_UNMAP);
  for (const { notifier } of [all, unmaps, maps, device]) list.register(notifier);
  list.notify(mapEvent(page(1n)));
  list.notify(unmapEvent({ start: 0n, last: 0xfffn }, 0x1000n));
  list.notify({ ...unmapEvent({ start: 0n, last: 0xfffn }, 0x1000n), type: DEVIOTLB_UNMAP });
  assertEquals(all.heard.map((event) => event.type), [MAP, UNMAP, DEVIOTLB_UNMAP]);
  assertEquals(unmaps.heard.map((event) => event.type), [UNMAP]);
  assertEquals(maps.heard.map((event) => event.type), [MAP]);
  assertEquals(device.heard.map((event) => event.type), [DEVIOTLB_UNMAP]);
});

Deno.test("a notifier hears only of its own IOMMU index", () => {
  const list = new NotifierList();
  const zero = listening(ALL);
  const one = listening(ALL, { iommuIndex: 1 });
  list.register(zero.notifier);
  list.register(one.notifier);
  list.notify(mapEvent(page(1n)), 1);
  assertEquals(list.change({ unmaps: [], maps: [page(2n)] }, 1).status, "done");
  assertEquals([zero.heard.length, one.heard.length], [0, 2]);
});

Deno.test("an event that straddles a notifier's range is cropped, its target advanced, and says so", () => {
  const list = new NotifierList();
  const { notifier, heard } = listening(ALL, { range: { start: 0x1800n, last: 0x2fffn } });
  list.register(notifier);
  const big = { iova: { start: 0n, last: 0xffffn }, target: 0x10_0000n, perm: IommuPerm.READ, pageSize: 0x1000n };
  assertEquals(list.change({ unmaps: [], maps: [big] }).status, "done");
  assertEquals(heard, [{
    type: MAP,
    iova: { start: 0x1800n, last: 0x2fffn },
    target: 0x10_1800n,
    perm: IommuPerm.READ,
    pageSize: 0x1000n,
    straddles: true,
  }]);
});

Deno.test("an event that is cropped between two pages does not straddle", () => {
  const list = new NotifierList();
  const { notifier, heard } = listening(ALL, { range: { start: 0x1000n, last: 0x2fffn } });
  list.register(notifier);
  list.notify(mapEvent({ ...page(0n), iova: { start: 0n, last: 0xffffn } }));
  assertEquals(heard[0]?.straddles, undefined);
  assertEquals(heard[0]?.target, 0x10_1000n);
});

Deno.test("the top of the 64-bit space is an address like any other", () => {
  const list = new NotifierList();
  const top = 0xffff_ffff_ffff_ffffn;
  const { notifier, heard } = listening(ALL, { range: { start: top, last: top } });
  list.register(notifier);
  list.notify(mapEvent({ ...page(0n), iova: { start: 0n, last: top }, target: 1n, pageSize: 1n << 64n }));
  assertEquals(heard.map(({ iova, target }) => [iova, target]), [[{ start: top, last: top }, 0n]]);
});

Deno.test("events are frozen, so they may be kept", () => {
  const list = new NotifierList();
  const { notifier, heard } = listening(ALL);
  list.register(notifier);
  const event = { type: MAP, ...page(1n) };
  list.notify(event);
  list.change({ unmaps: [page(1n)], maps: [page(1n, 7n)] });
  event.iova.start = 0n;
  assert(heard.every((event) => Object.isFrozen(event) && Object.isFrozen(event.iova)));
  assertEquals(heard[0]?.iova.start, 0x1000n);
});

Deno.test("the newest notifier is told first", () => {
  const list = new NotifierList();
  const order: string[] = [];
  for (const name of ["old", "new"]) list.register(listening(ALL, { notify: () => void order.push(name) }).notifier);
  list.notify(mapEvent(page(1n)));
  assertEquals(order, ["new", "old"]);
});

Deno.test("the flags of a list are the union of its notifiers', and the owner hears only of changes", () => {
  const changes: number[][] = [];
  const list = new NotifierList({ flagsChanged: (old, next) => void changes.push([old, next]) });
  const [a, b, c] = [listening(UNMAP), listening(IOTLB_EVENTS), listening(IOTLB_EVENTS)];
  for (const { notifier } of [a, b, c]) list.register(notifier);
  assertEquals(list.flags, IOTLB_EVENTS);
  list.unregister(b.notifier);
  list.unregister(c.notifier);
  list.unregister(a.notifier);
  assertEquals(changes, [[0, UNMAP], [UNMAP, IOTLB_EVENTS], [IOTLB_EVENTS, UNMAP], [UNMAP, 0]]);
});

Deno.test("the owner's veto leaves nothing registered and keeps its reason and remedy", () => {
  const reason = new IommuError("bad-input", "no ATS here", { remedy: "set ats=off" });
  const list = new NotifierList({
    flagsChanged: (_old, next) => {
      if (next & DEVIOTLB_UNMAP) throw reason;
    },
  });
  const { notifier } = listening(ALL);
  const error = thrown(() => list.register(notifier));
  assert(error instanceof IommuError);
  assertEquals([error.code, error.remedy, error.cause], ["notifier-refused", "set ats=off", reason]);
  assert(error.message.includes("no ATS here"));
  assertEquals([list.size, list.flags, notifier.registered], [0, 0, false]);
});

Deno.test("an owner cannot hold a notifier back", () => {
  const list = new NotifierList({
    flagsChanged: (_old, next) => {
      if (next === 0) throw new Error("stay");
    },
  });
  const { notifier } = listening(UNMAP);
  list.register(notifier);
  assertThrows(() => list.unregister(notifier), Error, "stay");
  assertEquals([list.size, list.flags, notifier.registered], [0, 0, false]);
});

Deno.test("a notifier is registered in one list at a time", () => {
  const { notifier } = listening(UNMAP);
  const list = new NotifierList();
  list.register(notifier);
  assertThrows(() => list.register(notifier), TypeError, "registered already");
  assertThrows(() => new NotifierList().register(notifier), TypeError, "registered already");
  assertEquals(new NotifierList().unregister(notifier), false);
  assertEquals([list.unregister(notifier), list.unregister(notifier)], [true, false]);
  new NotifierList().register(notifier);
});

Deno.test("a callback may unregister itself and others, who hear nothing more", () => {
  const list = new NotifierList();
  const old = listening(ALL);
  const middle = listening(ALL, {
    notify: () => {
      list.unregister(middle.notifier);
      list.unregister(old.notifier);
    },
  });
  const newest = listening(ALL);
  for (const { notifier } of [old, middle, newest]) list.register(notifier);
  assertEquals(list.change({ unmaps: [page(1n), page(3n)], maps: [page(1n, 9n)] }).status, "done");
  assertEquals([newest.heard.length, old.heard.length, list.size], [3, 0, 1]);
});

Deno.test("a notifier that a callback registers is not told of what is under way", () => {
  const list = new NotifierList();
  const late = listening(ALL);
  const first = listening(ALL, { notify: () => late.notifier.registered || list.register(late.notifier) });
  list.register(first.notifier);
  list.change({ unmaps: [page(1n)], maps: [page(1n, 9n)] });
  assertEquals(late.heard, []);
  list.notify(mapEvent(page(4n)));
  assertEquals(late.heard.length, 1);
});

Deno.test("notify() tells everybody, also if one throws, and then throws what came first", () => {
  const list = new NotifierList();
  const quiet = listening(ALL);
  list.register(quiet.notifier);
  for (const message of ["second", "first"]) {
    list.register(
      listening(ALL, {
        notify: () => {
          throw new Error(message);
        },
      }).notifier,
    );
  }
  assertThrows(() => list.notify(mapEvent(page(1n))), Error, "first");
  assertEquals(quiet.heard.length, 1);
});

Deno.test("a notifier must not change the IOMMU that it listens to", () => {
  const list = new NotifierList();
  const { notifier } = listening(ALL, { notify: () => void list.change({ unmaps: [], maps: [page(2n)] }) });
  list.register(notifier);
  const outcome = list.change({ unmaps: [], maps: [page(1n)] });
  assertEquals([outcome.status, outcome.error?.code], ["refused", "change-in-progress"]);
  assertEquals(list.changing, false);
});

Deno.test("what cannot be an event is refused", () => {
  const list = new NotifierList();
  const event = mapEvent(page(1n));
  assertThrows(() => list.notify({ ...event, type: IOTLB_EVENTS as typeof MAP }), RangeError, "not one event type");
  assertThrows(() => list.notify({ ...event, type: UNMAP }), RangeError, "has a permission");
  assertThrows(() => list.notify({ ...event, perm: IommuPerm.NONE }), RangeError, "has no permission");
  assertThrows(() => list.notify({ ...event, iova: { start: 1n, last: 0n } }), RangeError, "event.iova");
  assertThrows(() => list.notify({ ...event, pageSize: 3n }), RangeError, "event.pageSize");
  assertThrows(() => list.notify({ ...event, target: 5 as unknown as bigint }), TypeError, "event.target");
  list.register(listening(ALL).notifier);
  assertThrows(() => list.change({ unmaps: [{ ...page(1n), perm: 0 }], maps: [] }), RangeError, "no permission");
});

Deno.test("what cannot be a notifier is refused", () => {
  const notify = () => {};
  assertThrows(() => new IommuNotifier({ flags: 0, notify }), RangeError, "flags");
  assertThrows(() => new IommuNotifier({ flags: 8 as 7, notify }), RangeError, "flags");
  assertThrows(() => new IommuNotifier({ flags: MAP, notify, range: { start: 2n, last: 1n } }), RangeError, "range");
  assertThrows(() => new IommuNotifier({ flags: MAP, notify, iommuIndex: -1 }), RangeError, "iommuIndex");
  assertThrows(() => new IommuNotifier({ flags: MAP, notify, runs: "page" as "full" }), RangeError, "runs");
  assertThrows(() => new IommuNotifier({ flags: MAP } as unknown as IommuNotifierInit), TypeError, "notify");
});
