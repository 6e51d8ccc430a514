import { IommuError } from "@giommu/core";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { IommuNotifier, IommuNotifierFlag, IommuPerm, NotifierList, NotifierWalk, unmapEvent } from "./mod.ts";
import type { IotlbEntry } from "./mod.ts";

function run(first: bigint, last: bigint): IotlbEntry {
  return {
    iova: { start: first << 12n, last: (last << 12n) | 0xfffn },
    target: first << 12n,
    perm: IommuPerm.READ,
    pageSize: 0x1000n,
  };
}

function listening() {
  const list = new NotifierList();
  const heard: string[] = [];
  const notifier = new IommuNotifier({
    flags: IommuNotifierFlag.ALL,
    notify: ({ type, iova }) =>
      void heard.push(`${["", "unmap", "map", "", "ats"][type]} ${iova.start >> 12n}-${iova.last >> 12n}`),
  });
  list.register(notifier);
  return { list, heard, notifier };
}

Deno.test("a change that straddles a walk's position is split there", () => {
  const { list, heard, notifier } = listening();
  using walk = new NotifierWalk(notifier, { start: 0x2000n, last: 0x8fffn });
  walk.pass(0x4fffn);
  list.change({ unmaps: [], maps: [run(0n, 15n)] });
  // 0-1 is no part of the walk, 2-4 behind, 5-8 ahead, 9-15 no part of it
  assertEquals(heard, ["map 0-4", "map 9-15"]);
  assertEquals([walk.position, walk.stale], [0x5000n, true]);
});

Deno.test("a walk that has ended hides nothing", () => {
  const { list, heard, notifier } = listening();
  const walk = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
  walk.end();
  walk.end();
  list.notify(unmapEvent({ start: 0n, last: 0xffffn }, 0x1000n));
  assertEquals(heard, ["unmap 0-15"]);
  assertEquals(walk.position, undefined);
});

Deno.test("a walk that reaches the top of the space is over", () => {
  const { notifier } = listening();
  using walk = new NotifierWalk(notifier, { start: 0n, last: 0xffff_ffff_ffff_ffffn });
  walk.pass(0xffff_ffff_ffff_ffffn);
  assertEquals(walk.position, undefined);
});

Deno.test("a device's cache is invalidated wherever the walk stands", () => {
  const { list, heard, notifier } = listening();
  using walk = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
  list.notify({ ...unmapEvent({ start: 0n, last: 0xfffn }, 0x1000n), type: IommuNotifierFlag.DEVIOTLB_UNMAP });
  assertEquals([heard, walk.stale], [["ats 0-0"], false]);
});

Deno.test("a notifier that heard of changes before a walk goes on hearing all of them", () => {
  const { list, heard, notifier } = listening();
  list.change({ unmaps: [], maps: [run(9n, 9n)] });
  using walk = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
  list.change({ unmaps: [run(9n, 9n)], maps: [] });
  assertEquals([heard, walk.stale, walk.ahead], [["map 9-9", "unmap 9-9"], true, undefined]);
});

Deno.test("a change that a notifier does not listen to makes a walk stale all the same", () => {
  const list = new NotifierList();
  const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
  list.register(notifier);
  using walk = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
  list.change({ unmaps: [run(3n, 3n)], maps: [] });
  assertEquals(walk.stale, true);
  walk.refresh();
  walk.pass(0x3fffn);
  list.change({ unmaps: [], maps: [run(3n, 3n)] });
  assertEquals(walk.stale, false, "behind the position");
});

Deno.test("an entry is told from the position on", () => {
  const { heard, notifier } = listening();
  using walk = new NotifierWalk(notifier, { start: 0x2000n, last: 0x5fffn });
  assertEquals(walk.tell(run(0n, 3n)), { start: 0x2000n, last: 0x3fffn });
  assertEquals(walk.tell(run(1n, 3n)), undefined);
  assertEquals(walk.tell(run(4n, 9n)), { start: 0x4000n, last: 0x5fffn });
  assertEquals([heard, walk.position], [["map 2-3", "map 4-5"], undefined]);
});

Deno.test("what a callback changes behind an entry being told is heard live", () => {
  const list = new NotifierList();
  const heard: number[] = [];
  const notifier = new IommuNotifier({
    flags: IommuNotifierFlag.IOTLB_EVENTS,
    notify: (event) => {
      heard.push(event.type);
      if (event.type === IommuNotifierFlag.MAP) list.change({ unmaps: [run(1n, 1n)], maps: [] });
    },
  });
  list.register(notifier);
  using walk = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
  walk.tell(run(1n, 1n));
  assertEquals(heard, [IommuNotifierFlag.MAP, IommuNotifierFlag.UNMAP]);
});

Deno.test("one notifier is walked by one walk at a time", () => {
  const { notifier } = listening();
  {
    using _walk = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
    const error = assertThrows(() => new NotifierWalk(notifier, { start: 0n, last: 0xffffn }), IommuError);
    assert(error instanceof IommuError);
    assertEquals(error.code, "replay-in-progress");
  }
  using _again = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
});

Deno.test("nothing is walked while a change is being told", () => {
  const { list, notifier } = listening();
  using walk = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
  list.register(
    new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => void walk.tell(run(0n, 0n)) }),
  );
  assertEquals(list.change({ unmaps: [], maps: [run(3n, 3n)] }).error?.code, "change-in-progress");
});
