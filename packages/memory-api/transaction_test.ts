import { IommuError } from "@giommu/core";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { AddressSpace, MemoryRegion, RamRegion, transaction } from "./mod.ts";
import type { MemoryListener, MemorySection } from "./mod.ts";

const ALL = 2n ** 64n;

function machine(...names: string[]) {
  const root = new MemoryRegion({ name: "root", size: ALL });
  const rams = names.map((name) => new RamRegion({ name, size: 0x1000n }));
  return { root, rams: rams as [RamRegion, ...RamRegion[]], space: new AddressSpace({ name: "space", root }) };
}

function recorder(name: string, log: string[], more: Partial<MemoryListener> = {}): MemoryListener {
  const at = ({ region, range }: MemorySection) => `${region.name}@${range.start >> 12n}`;
  return {
    begin: () => void log.push(`${name} begin`),
    regionAdd: (section) => void log.push(`${name} add ${at(section)}`),
    regionDel: (section) => void log.push(`${name} del ${at(section)}`),
    commit: () => void log.push(`${name} commit`),
    ...more,
  };
}

Deno.test("all deletions come before all additions, and deletions in reverse order of listeners", () => {
  const { root, rams: [a, b], space } = machine("a", "b");
  root.addSubregion(0n, a);
  const log: string[] = [];
  space.addListener(recorder("1", log));
  space.addListener(recorder("2", log));
  log.length = 0;
  transaction(() => {
    root.addSubregion(0x2000n, b as RamRegion);
    root.removeSubregion(a);
  });
  assertEquals(log, [
    "1 begin",
    "2 begin",
    "2 del a@0",
    "1 del a@0",
    "1 add b@2",
    "2 add b@2",
    "1 commit",
    "2 commit",
  ]);
});

Deno.test("a listener that joins late is told of all sections, one that leaves that they went", () => {
  const { root, rams: [a, b], space } = machine("a", "b");
  root.addSubregion(0x1000n, a);
  root.addSubregion(0x5000n, b as RamRegion);
  const log: string[] = [];
  const listener = recorder("l", log);
  space.addListener(listener);
  assertEquals(log.splice(0), ["l begin", "l add a@1", "l add b@5", "l commit"]);
  assertEquals(space.removeListener(listener), true);
  assertEquals(log.splice(0), ["l begin", "l del b@5", "l del a@1", "l commit"]);
  assertEquals(space.removeListener(listener), false);
  root.removeSubregion(a);
  assertEquals(log, []);
});

Deno.test("a change that shows nowhere is told to nobody", () => {
  const { root, rams: [a], space } = machine("a");
  const log: string[] = [];
  space.addListener(recorder("l", log));
  log.length = 0;
  const hidden = new MemoryRegion({ name: "hidden", size: ALL });
  hidden.enabled = false;
  root.addSubregion(0n, hidden);
  hidden.addSubregion(0n, a);
  transaction(() => {
    hidden.enabled = true;
    hidden.enabled = false;
  });
  assertEquals(log, []);
});

Deno.test("a section that shrinks or grows is told of as the difference", () => {
  const { root, space } = machine();
  const big = new RamRegion({ name: "big", size: 0x10000n });
  const over = new RamRegion({ name: "over", size: 0x2000n });
  root.addSubregion(0n, big);
  const log: string[] = [];
  const piece = ({ region, range, offsetWithinRegion }: MemorySection) =>
    `${region.name} ${range.start.toString(16)}-${range.last.toString(16)}+${offsetWithinRegion.toString(16)}`;
  space.addListener({
    regionAdd: (section) => void log.push(`add ${piece(section)}`),
    regionDel: (section) => void log.push(`del ${piece(section)}`),
  });
  log.length = 0;
  root.addSubregion(0x4000n, over, { priority: 1 });
  assertEquals(log.splice(0), ["del big 4000-5fff+4000", "add over 4000-5fff+0"]);
  root.removeSubregion(over);
  assertEquals(log.splice(0), ["del over 4000-5fff+0", "add big 4000-5fff+4000"]);
});

Deno.test("while deletions are told the old map is seen, while additions are told the new one, in all spaces", () => {
  const { root, rams: [a], space } = machine("a");
  using other = new AddressSpace({ name: "other", root });
  root.addSubregion(0n, a);
  const seen: string[] = [];
  const look = (word: string) => () =>
    void seen.push(`${word} ${space.sections[0]?.range.start} ${other.sections[0]?.range.start}`);
  space.addListener({ regionAdd: look("add"), regionDel: look("del") });
  seen.length = 0;
  transaction(() => {
    root.removeSubregion(a);
    root.addSubregion(0x1000n, a);
  });
  assertEquals(seen, ["del 0 0", "add 4096 4096"]);
});

Deno.test("a listener of two spaces gets one begin and one commit per transaction", () => {
  const { root, rams: [a], space } = machine("a");
  using other = new AddressSpace({ name: "other", root });
  const log: string[] = [];
  const listener = recorder("l", log);
  space.addListener(listener);
  other.addListener(listener);
  log.length = 0;
  root.addSubregion(0n, a);
  assertEquals(log, ["l begin", "l add a@0", "l add a@0", "l commit"]);
});

Deno.test("a refused addition is told back in reverse, and the map is as before", () => {
  const { root, rams: [a, b, c], space } = machine("a", "b", "c");
  root.addSubregion(0n, a);
  const log: string[] = [];
  space.addListener(recorder("first", log));
  space.addListener(recorder("picky", log, {
    regionAdd: ({ region }) => {
      if (region === c) throw new Error("not c");
      log.push(`picky add ${region.name}`);
    },
  }));
  log.length = 0;
  const error = assertThrows(() =>
    transaction(() => {
      root.removeSubregion(a);
      root.addSubregion(0x1000n, b as RamRegion);
      root.addSubregion(0x2000n, c as RamRegion);
    }), Error);
  assertEquals((error as Error).message, "not c");
  assertEquals(log, [
    "first begin",
    "picky begin",
    "picky del a@0",
    "first del a@0",
    "first add b@1",
    "picky add b",
    "first add c@2",
    "first del c@2",
    "picky del b@1",
    "first del b@1",
    "first add a@0",
    "picky add a",
    "first commit",
    "picky commit",
  ]);
  assertEquals(space.sections.map((section) => section.region), [a]);
  assertEquals([a.parent, b?.parent, c?.parent], [root, undefined, undefined]);
});

Deno.test("a listener that refuses what is there already is not added", () => {
  const { root, rams: [a, b], space } = machine("a", "b");
  root.addSubregion(0n, a);
  root.addSubregion(0x1000n, b as RamRegion);
  const log: string[] = [];
  const picky = recorder("l", log, {
    regionAdd: ({ region }) => {
      if (region === b) throw new Error("not b");
      log.push(`l add ${region.name}`);
    },
  });
  assertThrows(() => space.addListener(picky), Error, "not b");
  assertEquals(log, ["l begin", "l add a", "l del a@0", "l commit"]);
  assertEquals(space.listeners, []);
});

Deno.test("a commit that throws refuses the transaction", () => {
  const { root, rams: [a], space } = machine("a");
  const log: string[] = [];
  space.addListener(recorder("first", log));
  let fail = false;
  space.addListener(recorder("second", log, {
    commit: () => {
      log.push("second commit");
      if (fail) {
        fail = false;
        throw new Error("too late?");
      }
    },
  }));
  log.length = 0;
  fail = true;
  assertThrows(() => root.addSubregion(0n, a), Error, "too late?");
  assertEquals(log, [
    "first begin",
    "second begin",
    "first add a@0",
    "second add a@0",
    "first commit",
    "second commit",
    "second del a@0",
    "first begin",
    "first del a@0",
    "second commit",
    "first commit",
  ]);
  assertEquals([a.parent, space.sections.length], [undefined, 0]);
});

Deno.test("a deletion that fails is not undone, and its error comes at the end", () => {
  const { root, rams: [a], space } = machine("a");
  root.addSubregion(0n, a);
  const log: string[] = [];
  space.addListener(recorder("first", log));
  space.addListener(recorder("fails", log, {
    regionDel: () => {
      throw new IommuError("unmap-failed", "stuck");
    },
  }));
  log.length = 0;
  assertThrows(() => root.removeSubregion(a), IommuError, "stuck");
  assertEquals(log, ["first begin", "fails begin", "first del a@0", "first commit", "fails commit"]);
  assertEquals([a.parent, space.sections.length], [undefined, 0]);
});

Deno.test("a transaction that cannot be told back says rollback-failed", () => {
  const { root, rams: [a], space } = machine("a");
  space.addListener({
    regionDel: () => {
      throw new Error("stuck");
    },
  });
  space.addListener({
    regionAdd: () => {
      throw new Error("no");
    },
  });
  const error = assertThrows(() => root.addSubregion(0n, a), IommuError, "no");
  assertEquals((error as IommuError).code, "rollback-failed");
  assertEquals([a.parent, space.sections.length], [undefined, 0]);
});

Deno.test("what fn throws puts the map back and tells nobody", () => {
  const { root, rams: [a, b], space } = machine("a", "b");
  root.addSubregion(0n, a);
  const log: string[] = [];
  space.addListener(recorder("l", log));
  log.length = 0;
  assertThrows(
    () =>
      transaction(() => {
        root.removeSubregion(a);
        root.addSubregion(0n, b as RamRegion);
        a.enabled = false;
        throw new Error("never mind");
      }),
    Error,
    "never mind",
  );
  assertEquals([log, a.parent, a.enabled, b?.parent], [[], root, true, undefined]);
});

Deno.test("an inner transaction that throws is put back alone", () => {
  const { root, rams: [a, b], space } = machine("a", "b");
  const log: string[] = [];
  space.addListener(recorder("l", log));
  log.length = 0;
  transaction(() => {
    root.addSubregion(0n, a);
    try {
      transaction(() => {
        root.addSubregion(0x1000n, b as RamRegion);
        throw new Error("inner");
      });
    } catch {
      // the outer transaction goes on
    }
  });
  assertEquals(log, ["l begin", "l add a@0", "l commit"]);
});

Deno.test("an asynchronous function is no transaction", () => {
  const { root, rams: [a] } = machine("a");
  assertThrows(
    () =>
      transaction(() => {
        root.addSubregion(0n, a);
        return Promise.resolve();
      }),
    TypeError,
    "asynchronous",
  );
  assertEquals(a.parent, undefined);
});

Deno.test("the map cannot be changed from inside a listener", () => {
  const { root, rams: [a, b], space } = machine("a", "b");
  const codes: string[] = [];
  const attempt = (act: () => void) => {
    try {
      act();
    } catch (error) {
      codes.push((error as IommuError).code);
    }
  };
  space.addListener({
    regionAdd: () => {
      attempt(() => root.addSubregion(0x1000n, b as RamRegion));
      attempt(() => space.addListener({}));
      attempt(() => space.dispose());
    },
  });
  root.addSubregion(0n, a);
  assertEquals(codes, ["change-in-progress", "change-in-progress", "change-in-progress"]);
  root.addSubregion(0x1000n, b as RamRegion); // afterwards it can
});

Deno.test("a listener that leaves from inside a callback hears nothing more", () => {
  const { root, rams: [a, b], space } = machine("a", "b");
  const log: string[] = [];
  const leaver = recorder("l", log, {
    regionAdd: ({ region }) => {
      log.push(`l add ${region.name}`);
      space.removeListener(leaver);
    },
  });
  space.addListener(leaver);
  log.length = 0;
  transaction(() => {
    root.addSubregion(0n, a);
    root.addSubregion(0x1000n, b as RamRegion);
  });
  assertEquals([log, space.listeners], [["l begin", "l add a"], []]);
});

Deno.test("a space that is made inside a transaction shows its outcome", () => {
  const { root, rams: [a] } = machine("a");
  const log: string[] = [];
  const made = transaction(() => {
    const space = new AddressSpace({ name: "new", root });
    space.addListener(recorder("l", log));
    root.addSubregion(0n, a);
    return space;
  });
  assertEquals(log, ["l begin", "l commit", "l begin", "l add a@0", "l commit"]);
  assertEquals(made.sections.length, 1);
  let kept: AddressSpace | undefined;
  assertThrows(() =>
    transaction(() => {
      root.removeSubregion(a);
      kept = new AddressSpace({ name: "kept", root });
      throw new Error("no");
    })
  );
  assertEquals(kept?.sections.length, 1);
});

Deno.test("a disposed space tells its listeners, and can no longer be used", () => {
  const { root, rams: [a], space } = machine("a");
  root.addSubregion(0n, a);
  const log: string[] = [];
  space.addListener(recorder("l", log));
  log.length = 0;
  space.dispose();
  space.dispose();
  assertEquals(log, ["l begin", "l del a@0", "l commit"]);
  const error = assertThrows(() => space.flatView(), IommuError, "space");
  assertEquals((error as IommuError).code, "disposed");
  assertThrows(() => space.addListener({}), IommuError);
  root.removeSubregion(a);
  assert(log.length === 3);
});

Deno.test("nobody listens twice", () => {
  const { space } = machine();
  const listener = {};
  space.addListener(listener);
  assertThrows(() => space.addListener(listener), TypeError, "listens already");
});

Deno.test("a region that moves by less than its size is gone from its old place as a whole", () => {
  const { root, rams: [a], space } = machine("a");
  root.addSubregion(0n, a);
  const log: string[] = [];
  space.addListener({
    regionAdd: ({ range }) => void log.push(`add ${range.start.toString(16)}-${range.last.toString(16)}`),
    regionDel: ({ range }) => void log.push(`del ${range.start.toString(16)}-${range.last.toString(16)}`),
  });
  log.length = 0;
  transaction(() => {
    root.removeSubregion(a);
    root.addSubregion(0x800n, a);
  });
  assertEquals(log, ["del 0-fff", "add 800-17ff"]);
});
