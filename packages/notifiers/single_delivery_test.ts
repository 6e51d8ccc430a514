/** A change of one entry told to one notifier: the short way against the way that any change can go. */

import type { AddressRange } from "@giommu/core";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ChangeDelivery, partsOf } from "./_change_delivery.ts";
import { deliverSingle } from "./_single_delivery.ts";
import { IommuNotifier, IommuPerm, NotifierList, NotifierWalk } from "./mod.ts";
import type { ChangeOutcome, IommuChange, IommuNotifierFlag, IotlbEntry, IotlbEvent } from "./mod.ts";
import { stateOf } from "./notifier.ts";

/** What a callback does when it is called. */
const deeds = ["nothing", "throws", "leaves", "leaves and throws", "leaves and comes back", "begins a walk"] as const;
type Deed = typeof deeds[number];

/** Callbacks are called more than once where a change is undone: the deed is for one of the calls. */
interface Script {
  readonly hooks: readonly ("begin" | "commit" | "rollback")[];
  readonly flags: IommuNotifierFlag;
  readonly range: AddressRange;
  readonly at: number;
  readonly deed: Deed;
  readonly andAt: number;
  readonly andDeed: Deed;
  readonly lost: readonly AddressRange[];
}

const entry: fc.Arbitrary<IotlbEntry> = fc.record({
  page: fc.bigInt(0n, 5n),
  pages: fc.bigInt(1n, 3n),
  target: fc.bigInt(0n, 2n ** 64n - 1n),
  perm: fc.constantFrom(IommuPerm.READ, IommuPerm.WRITE, IommuPerm.READ_WRITE),
  elsewhere: fc.boolean(),
}).map(({ page, pages, target, perm, elsewhere }) => ({
  iova: { start: page << 12n, last: ((page + pages) << 12n) - 1n },
  target,
  perm,
  pageSize: 0x1000n,
  ...(elsewhere && { targetSpace: { name: "elsewhere" } }),
}));

const change: fc.Arbitrary<IommuChange> = fc.oneof(
  entry.map((old) => ({ unmaps: [old], maps: [] })),
  entry.map((next) => ({ unmaps: [], maps: [next] })),
  fc.tuple(entry, entry).map(([old, next]) => ({ unmaps: [old], maps: [next] })),
  fc.tuple(entry, entry).map(([old, next]) => ({ unmaps: [old], maps: [{ ...next, iova: old.iova }] })),
);

const range: fc.Arbitrary<AddressRange> = fc.constantFrom(
  { start: 0n, last: 0xffff_ffffn },
  { start: 0n, last: 0x2fffn },
  { start: 0x1000n, last: 0x1fffn },
);

const script: fc.Arbitrary<Script> = fc.record({
  hooks: fc.subarray(["begin", "commit", "rollback"]),
  flags: fc.integer({ min: 1, max: 3 }).map((flags) => flags as IommuNotifierFlag),
  range,
  at: fc.nat(5),
  deed: fc.constantFrom(...deeds),
  andAt: fc.nat(5),
  andDeed: fc.constantFrom(...deeds),
  lost: fc.array(range, { maxLength: 2 }),
});

/** Everything that can be seen of a delivery from outside. */
function played(
  { hooks, flags, range, at, deed, andAt, andDeed, lost }: Script,
  deliver: (notifier: IommuNotifier) => ChangeOutcome | undefined,
) {
  const log: unknown[] = [];
  let calls = 0;
  const list = new NotifierList();
  const called = (name: string, about: unknown): void => {
    log.push([name, about, notifier.registered, stateOf(notifier).told]);
    const call = calls++;
    const todo = call === at ? deed : call === andAt ? andDeed : "nothing";
    if (todo.startsWith("leaves")) list.unregister(notifier);
    if (todo === "leaves and comes back") list.register(notifier);
    if (todo === "begins a walk" && stateOf(notifier).walk === undefined) new NotifierWalk(notifier, range);
    if (todo.endsWith("throws")) throw new Error(`${name} at ${call}`);
  };
  const notifier: IommuNotifier = new IommuNotifier({
    flags,
    range,
    notify: (event: IotlbEvent) => {
      assert(Object.isFrozen(event) && Object.isFrozen(event.iova));
      called("notify", event);
    },
    ...(hooks.includes("begin") && { begin: (upcoming) => called("begin", upcoming) }),
    ...(hooks.includes("commit") && { commit: () => called("commit", undefined) }),
    ...(hooks.includes("rollback") && {
      rollback: () => {
        called("rollback", undefined);
        return lost;
      },
    }),
  });
  list.register(notifier);
  const outcome = deliver(notifier);
  const { error } = outcome ?? {};
  return {
    log,
    status: outcome?.status,
    lost: outcome?.lost,
    error: error && [error.code, error.message, error.range, error.ranges, error.remedy, String(error.cause)],
    registered: notifier.registered,
    told: stateOf(notifier).told,
  };
}

Deno.test("a single entry for a single notifier goes as any change does, whatever the callbacks do", () => {
  let short = 0;
  fc.assert(
    fc.property(change, script, (change, script) => {
      const general = played(script, (one) => new ChangeDelivery(change, partsOf([one], change, 0)).deliver());
      const single = played(script, (one) => deliverSingle(one, change, 0));
      if (single.status === undefined) {
        assertEquals(single.log, [], "what is left to the other way was not begun");
      } else {
        short++;
        assertEquals(single, general);
      }
    }),
    { numRuns: 5000 },
  );
  assert(short > 1000, `the short way was taken ${short} times`);
});

Deno.test("the short way is left to the other where it would have to cut, or a walk is under way", () => {
  const whole = { start: 0n, last: 0xffffn };
  const one = { iova: { start: 0x1000n, last: 0x1fffn }, target: 0n, perm: IommuPerm.READ, pageSize: 0x1000n };
  const notifier = new IommuNotifier({ flags: 3, range: { start: 0x1800n, last: 0xffffn }, notify: () => {} });
  new NotifierList().register(notifier);
  assertEquals(deliverSingle(notifier, { unmaps: [], maps: [one] }, 0), undefined);
  const walked = new IommuNotifier({ flags: 3, range: whole, notify: () => {} });
  new NotifierList().register(walked);
  using _walk = new NotifierWalk(walked, whole);
  assertEquals(deliverSingle(walked, { unmaps: [one], maps: [] }, 0), undefined);
  const indexed = new IommuNotifier({ flags: 3, iommuIndex: 1, notify: () => {} });
  new NotifierList().register(indexed);
  assertEquals(deliverSingle(indexed, { unmaps: [one], maps: [] }, 0), undefined);
  assertEquals(deliverSingle(indexed, { unmaps: [one], maps: [] }, 1)?.status, "done");
  assertEquals(deliverSingle(indexed, { unmaps: [one, one], maps: [] }, 1), undefined);
});
