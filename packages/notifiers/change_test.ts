import type { AddressRange } from "@giommu/core";
import { IommuError } from "@giommu/core";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { IommuNotifier, IommuNotifierFlag, IommuPerm, NotifierList } from "./mod.ts";
import type { IommuChange, IommuNotifierInit, IotlbEntry, IotlbEvent } from "./mod.ts";

const { MAP, UNMAP, IOTLB_EVENTS } = IommuNotifierFlag;

function page(n: number, target = n + 0x100): IotlbEntry {
  const start = BigInt(n) << 12n;
  return {
    iova: { start, last: start + 0xfffn },
    target: BigInt(target) << 12n,
    perm: IommuPerm.READ_WRITE,
    pageSize: 0x1000n,
  };
}

/** What somebody said, in the order in which it was said. */
function recorder(list: NotifierList, name: string, log: string[], more: Partial<IommuNotifierInit> = {}) {
  const notifier = new IommuNotifier({
    flags: IOTLB_EVENTS,
    notify: (event) => void log.push(`${name} ${event.type === MAP ? "map" : "unmap"} ${event.iova.start >> 12n}`),
    ...more,
  });
  list.register(notifier);
  return notifier;
}

Deno.test("all UNMAPs of a change reach everybody before its first MAP", () => {
  const list = new NotifierList();
  const log: string[] = [];
  recorder(list, "old", log);
  recorder(list, "new", log);
  list.change({ unmaps: [page(1), page(5)], maps: [page(1, 9), page(2)] });
  assertEquals(log, [
    "new unmap 1",
    "new unmap 5",
    "old unmap 1",
    "old unmap 5",
    "new map 1",
    "new map 2",
    "old map 1",
    "old map 2",
  ]);
});

Deno.test("neighbouring UNMAPs of a change are one event, whatever they pointed to", () => {
  const list = new NotifierList();
  const events: IotlbEvent[] = [];
  list.register(new IommuNotifier({ flags: UNMAP, notify: (event) => void events.push(event) }));
  const other = { ...page(3), perm: IommuPerm.READ };
  const coarse = { ...page(0), iova: { start: 0x10000n, last: 0x1ffffn }, pageSize: 0x10000n };
  list.change({ unmaps: [page(1), page(2, 7), other, page(15), coarse], maps: [] });
  assertEquals(events.map(({ iova, perm, target, pageSize }) => [iova.start, iova.last, perm, target, pageSize]), [
    [0x1000n, 0x3fffn, 0, 0n, 0x1000n],
    [0xf000n, 0xffffn, 0, 0n, 0x1000n],
    [0x10000n, 0x1ffffn, 0, 0n, 0x10000n],
  ]);
});

Deno.test("begin and commit bracket a change, for those whom it concerns", () => {
  const list = new NotifierList();
  const log: string[] = [];
  const hooks = (name: string) => ({
    begin: () => void log.push(`${name} begin`),
    commit: () => void log.push(`${name} commit`),
  });
  recorder(list, "elsewhere", log, { ...hooks("elsewhere"), range: { start: 0x9000n, last: 0x9fffn } });
  recorder(list, "here", log, hooks("here"));
  list.change({ unmaps: [], maps: [page(1)] });
  assertEquals(log, ["here begin", "here map 1", "here commit"]);
});

Deno.test("a refused MAP puts back whoever was told, those told last first", () => {
  const list = new NotifierList();
  const log: string[] = [];
  recorder(list, "refuses", log, {
    notify: (event) => {
      log.push(`refuses ${event.type === MAP ? "map" : "unmap"} ${event.iova.start >> 12n}`);
      if (event.type === MAP && event.iova.start === 0x2000n) {
        throw new IommuError("mapping-limit", "full", { remedy: "raise it" });
      }
    },
  });
  recorder(list, "plain", log);
  recorder(list, "hooked", log, {
    begin: () => void log.push("hooked begin"),
    rollback: () => void log.push("hooked rollback"),
  });
  const outcome = list.change({ unmaps: [page(1)], maps: [page(1, 9), page(2)] });
  assertEquals([outcome.status, outcome.error?.code, outcome.error?.remedy, outcome.lost], [
    "refused",
    "mapping-limit",
    "raise it",
    [],
  ]);
  const told = log.indexOf("refuses map 2");
  assertEquals(log.slice(told + 1), [
    "refuses unmap 1",
    "refuses map 1",
    "plain unmap 1",
    "plain map 1",
    "hooked rollback",
  ]);
});

Deno.test("whatever a notifier throws becomes an IommuError that names the range", () => {
  const list = new NotifierList();
  recorder(list, "", [], {
    notify: () => {
      throw "just a string";
    },
  });
  const { error } = list.change({ unmaps: [], maps: [page(2)] });
  assertEquals([error?.code, error?.range], ["notifier-refused", page(2).iova]);
  assert(error?.message.includes("0x2000..0x2fff") && error.message.includes("just a string"));
});

Deno.test("an old mapping that cannot be put back is lost for everybody", () => {
  const list = new NotifierList();
  const log: string[] = [];
  recorder(list, "other", log);
  let maps = 0;
  recorder(list, "fragile", log, {
    notify: (event) => {
      if (event.type === MAP && ++maps > 1) throw new Error("out of luck");
    },
  });
  const { status, error, lost } = list.change({ unmaps: [page(1)], maps: [page(1, 9), page(2)] });
  assertEquals([status, error?.code, lost, error?.ranges], ["refused", "mapping-lost", [page(1).iova], [page(1).iova]]);
  assert(error?.cause instanceof IommuError);
  assertEquals(log.at(-1), "other unmap 1");
});

Deno.test("what a rollback reports as lost is lost for everybody", () => {
  const list = new NotifierList();
  const log: string[] = [];
  const lost: AddressRange[] = [{ start: 0x3000n, last: 0x3fffn }, { start: 0x1000n, last: 0x2fffn }];
  recorder(list, "other", log);
  recorder(list, "hooked", log, {
    notify: (event) => {
      if (event.type === MAP) throw new Error("no");
    },
    begin: () => {},
    rollback: () => lost,
  });
  const outcome = list.change({ unmaps: [page(1)], maps: [page(1, 9)] });
  assertEquals(outcome.lost, [{ start: 0x1000n, last: 0x3fffn }]);
  assertEquals(outcome.error?.code, "mapping-lost");
  assertEquals(log.slice(-1), ["other unmap 1"]);
});

Deno.test("an undo that fails is rollback-failed and names the ranges", () => {
  const list = new NotifierList();
  let fail = false;
  recorder(list, "", [], {
    notify: (event) => {
      if (event.type === MAP && event.iova.start === 0x2000n) fail = true;
      if (fail) throw new Error("dead");
    },
  });
  const { status, error, lost } = list.change({ unmaps: [], maps: [page(1), page(2)] });
  assertEquals([status, error?.code, lost], ["refused", "rollback-failed", [page(1).iova]]);
});

Deno.test("a rollback that throws counts all it was told as lost", () => {
  const list = new NotifierList();
  recorder(list, "", [], {
    notify: (event) => {
      if (event.type === MAP) throw new Error("no");
    },
    begin: () => {},
    rollback: () => {
      throw new Error("cannot");
    },
  });
  const { error, lost } = list.change({ unmaps: [page(4)], maps: [page(1)] });
  assertEquals([error?.code, lost], ["rollback-failed", [page(1).iova, page(4).iova]]);
});

Deno.test("an UNMAP that fails stops nobody else's, and no MAP follows", () => {
  const list = new NotifierList();
  const log: string[] = [];
  const commits: string[] = [];
  recorder(list, "old", log, { begin: () => {}, commit: () => void commits.push("old") });
  recorder(list, "fails", log, {
    notify: () => {
      throw new Error("stuck");
    },
  });
  const outcome = list.change({ unmaps: [page(1), page(4)], maps: [page(1, 9)] });
  assertEquals([outcome.status, outcome.error?.code, outcome.error?.range], [
    "unmap-failed",
    "unmap-failed",
    page(1).iova,
  ]);
  assertEquals(outcome.lost, [page(1).iova]);
  assertEquals([log, commits], [["old unmap 1", "old unmap 4"], ["old"]]);
});

Deno.test("a commit that throws refuses the change", () => {
  const list = new NotifierList();
  const log: string[] = [];
  recorder(list, "refuses", log, {
    begin: () => {},
    commit: () => {
      throw new Error("not in the end");
    },
    rollback: () => void log.push("refuses rollback"),
  });
  recorder(list, "committed", log, {
    begin: () => void log.push("committed begin"),
    commit: () => void log.push("committed commit"),
    rollback: () => void log.push("committed rollback"),
  });
  const outcome = list.change({ unmaps: [], maps: [page(1)] });
  assertEquals(outcome.status, "refused");
  assertEquals(log, [
    "committed begin",
    "committed map 1",
    "refuses map 1",
    "committed commit",
    "refuses rollback",
    "committed begin",
    "committed unmap 1",
    "committed commit",
  ]);
});

Deno.test("a begin that throws refuses the change before anything is told", () => {
  const list = new NotifierList();
  const log: string[] = [];
  recorder(list, "refuses", log, {
    begin: () => {
      throw new Error("not now");
    },
  });
  recorder(list, "first", log, {
    begin: () => void log.push("first begin"),
    rollback: () => void log.push("first back"),
  });
  assertEquals(list.change({ unmaps: [], maps: [page(1)] }).status, "refused");
  assertEquals(log, ["first begin", "first back"]);
});

/** A guest IOMMU of a few pages, and everybody's copy of it. */
class Model {
  readonly table = new Map<number, number>();
  readonly list = new NotifierList();
  readonly copies: Copy[] = [];
  /** Which of the coming calls to a `notify` fails, counted from 0. */
  readonly failing = new Set<number>();
  calls = 0;

  write(pages: ReadonlyMap<number, number>) {
    const change: IommuChange = { unmaps: [], maps: [] };
    const before = new Map(this.table);
    for (const n of [...pages.keys()].sort((a, b) => a - b)) {
      const [old, next] = [this.table.get(n), pages.get(n) ?? 0];
      if (old === (next || undefined)) continue;
      if (old !== undefined) (change.unmaps as IotlbEntry[]).push(page(n, old));
      if (next !== 0) (change.maps as IotlbEntry[]).push(page(n, next));
      if (next === 0) this.table.delete(n);
      else this.table.set(n, next);
    }
    const outcome = this.list.change(change);
    if (outcome.status === "refused") {
      this.table.clear();
      for (const [n, target] of before) this.table.set(n, target);
    }
    for (const { start, last } of outcome.lost) {
      for (let n = Number(start >> 12n); n <= Number(last >> 12n); n++) this.table.delete(n);
    }
    return outcome;
  }
}

class Copy {
  readonly pages = new Map<number, number>();
  readonly range: AddressRange;
  readonly notifier: IommuNotifier;
  #saved = new Map<number, number>();

  constructor(model: Model, range: AddressRange, hooks: boolean) {
    this.range = range;
    this.notifier = new IommuNotifier({
      flags: IOTLB_EVENTS,
      range,
      notify: (event) => {
        const call = model.calls++;
        if (event.type === MAP && model.failing.has(call)) throw new Error(`call ${call} fails`);
        const first = Number(event.iova.start >> 12n);
        for (let n = first; n <= Number(event.iova.last >> 12n); n++) {
          if (event.type === UNMAP) this.pages.delete(n);
          else {
            assert(!this.pages.has(n), `page ${n} was mapped twice`);
            this.pages.set(n, Number(event.target >> 12n) + n - first);
          }
        }
      },
      ...(hooks && {
        begin: () => void (this.#saved = new Map(this.pages)),
        commit: () => {},
        rollback: () => {
          this.pages.clear();
          for (const [n, target] of this.#saved) this.pages.set(n, target);
        },
      }),
    });
    model.list.register(this.notifier);
    model.copies.push(this);
  }

  expected(table: ReadonlyMap<number, number>): Map<number, number> {
    return new Map(
      [...table].filter(([n]) => BigInt(n) << 12n >= this.range.start && BigInt(n) << 12n <= this.range.last),
    );
  }
}

Deno.test("property: whichever MAPs fail, everybody's copy equals the table after every change", () => {
  const PAGES = 12;
  const range = fc.tuple(fc.nat(PAGES - 1), fc.nat(PAGES - 1)).map(([a, b]) => ({
    start: BigInt(Math.min(a, b)) << 12n,
    last: (BigInt(Math.max(a, b)) << 12n) + 0xfffn,
  }));
  const write = fc.dictionary(fc.nat(PAGES - 1).map(String), fc.constantFrom(0, 0, 0x100, 0x101, 0x200), {
    maxKeys: 8,
  });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(range, fc.boolean()), { maxLength: 4 }),
      fc.array(fc.tuple(write, fc.uniqueArray(fc.nat(20), { maxLength: 4 })), { maxLength: 12 }),
      (ranges, writes) => {
        const model = new Model();
        for (const [range, hooks] of ranges) new Copy(model, range, hooks);
        for (const [pages, failing] of writes) {
          model.calls = 0;
          model.failing.clear();
          for (const call of failing) model.failing.add(call);
          const before = new Map(model.table);
          const outcome = model.write(new Map(Object.entries(pages).map(([n, target]) => [Number(n), target])));
          for (const copy of model.copies) {
            assertEquals(new Map([...copy.pages].sort()), new Map([...copy.expected(model.table)].sort()));
          }
          if (outcome.status === "refused" && outcome.lost.length === 0) {
            assertEquals(new Map([...model.table].sort()), new Map([...before].sort()));
          }
        }
      },
    ),
    { numRuns: 500 },
  );
});
