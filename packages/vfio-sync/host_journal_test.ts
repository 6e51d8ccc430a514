import { IommuError } from "@giommu/core";
import { AddressSpace } from "@giommu/memory-api";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { GuestTable } from "./_guest_table_test.ts";
import type { AsyncHostIommu } from "./async_host_iommu.ts";
import { HostJournal } from "./host_journal.ts";
import { HOST_RULES } from "./host_rules.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { VfioContainer } from "./vfio_container.ts";
import { verify } from "./verify.ts";

/** A host that answers after a while; what it is asked is noted when it is asked. */
function farAway(far: SimulatedHost, asked: string[] = []): AsyncHostIommu {
  const later = async <T>(what: string, call: () => T): Promise<T> => {
    asked.push(what);
    await new Promise((resolve) => setTimeout(resolve));
    asked.push("done");
    return call();
  };
  return {
    info: { ...HOST_RULES.none, name: "far away" },
    map: (mapping) => later(`map ${mapping.iova.start}`, () => far.map(mapping)),
    unmap: (range) => later(`unmap ${range.start}`, () => far.unmap(range)),
  };
}

function mappings(host: SimulatedHost): [bigint, bigint, bigint][] {
  return Array.from(host.mappings(), ({ iova, gpa }) => [iova.start, iova.last, gpa]);
}

/** A guest table, a journal before a host that is far away, and a container attached through it. */
async function attached(pages = 64) {
  const far = new SimulatedHost();
  const asked: string[] = [];
  const journal = new HostJournal(farAway(far, asked));
  const table = new GuestTable({ pages });
  const space = new AddressSpace({ name: "bus", root: table.region });
  const container = new VfioContainer({ host: journal });
  await journal.turn(() => container.attach(space), () => container.detach());
  asked.length = 0;
  return { far, asked, journal, table, container };
}

Deno.test("a turn ends when the host has done everything, in the order in which it was asked", async () => {
  const { far, asked, journal, table } = await attached();
  const turns = [
    journal.turn(() => table.map(0, 2, 0x8000n)),
    journal.turn(() => table.write(0, [{ target: 0xf000n, perm: 3 }])),
    journal.turn(() => table.unmap(1)),
  ];
  assertEquals(asked, [], "nothing is sent before the first turn has run");
  const outcomes = await Promise.all(turns);
  assertEquals(outcomes.map(({ status }) => status), ["done", "done", "done"]);
  assertEquals(asked.filter((_, at) => at % 2 === 0), ["map 0", "unmap 0", "map 0", "unmap 4096"]);
  assertEquals(asked.filter((_, at) => at % 2 === 1), ["done", "done", "done", "done"]);
  assertEquals(mappings(far), [[0n, 0xfffn, 0xf000n]]);
});

Deno.test("outside of a turn nothing can be asked: a call that nobody would wait for is refused to the guest", async () => {
  const { far, journal, table } = await attached();
  const outcome = table.map(0, 1, 0x8000n);
  assertEquals([outcome.status, outcome.error?.message.includes("nobody would wait")], ["refused", true]);
  assertThrows(() => journal.unmap({ start: 0n, last: 0xfffn }), IommuError, "nobody would wait");
  assertEquals([table.pages.size, far.size], [0, 0]);
});

Deno.test("a MAP that the host refuses is undone there, and the guest's call is taken back", async () => {
  const { far, journal, table, container } = await attached();
  await journal.turn(() => table.map(0, 4, 0x8000n));
  const before = mappings(far);
  far.failWhen({ call: ({ call, range }) => call === "MAP" && range.start === 0x9000n, errno: "ENOMEM" });
  const old = [0n, 1n, 2n].map((page) => table.pages.get(page));
  const refused = await assertRejects(
    () =>
      journal.turn(
        () => {
          table.write(1, [{ target: 0x2_0000n, perm: 3 }, undefined]);
          table.map(9, 1, 0x3_0000n);
        },
        () => {
          table.unmap(9);
          table.write(0, old);
        },
      ),
    IommuError,
  );
  assertEquals([refused.code, journal.failed], ["host-refused", undefined]);
  far.failNoMore();
  assertEquals(verify(container).agrees, true);
  assertEquals(far.translate(0x1000n), { gpa: 0x9000n, perm: 3 });
  assertEquals(far.translate(0x2000n), { gpa: 0xa000n, perm: 3 });
  assertEquals([table.pages.size, before.length > 0], [4, true]);
  await journal.turn(() => table.map(9, 1, 0x3_0000n));
  assertEquals(far.translate(0x9000n)?.gpa, 0x3_0000n);
});

Deno.test("a refusal without undo, an UNMAP that fails, an undo that does not fit: the journal has failed, and says where", async () => {
  const cases: [string, string, (far: SimulatedHost, journal: HostJournal, table: GuestTable) => Promise<unknown>][] = [
    ["no undo", "host-refused", (far, journal, table) => {
      far.failWhen({ call: ({ call }) => call === "MAP" });
      return journal.turn(() => table.map(3, 1, 0n));
    }],
    ["unmap", "unmap-failed", (far, journal, table) => {
      far.failWhen({ call: ({ call }) => call === "UNMAP" });
      return journal.turn(() => table.unmap(0), () => table.map(0, 1, 0x8000n));
    }],
    ["another undo", "rollback-failed", (far, journal, table) => {
      far.failWhen({ call: ({ call }) => call === "MAP" });
      return journal.turn(() => table.map(3, 1, 0n), () => table.unmap(0));
    }],
    ["undo that is refused", "rollback-failed", async (far, journal, table) => {
      far.failWhen({ call: ({ call, range }) => call === "MAP" && range.start === 0x3000n });
      far.failWhen({ call: ({ call, range }) => call === "UNMAP" && range.start === 0x2000n });
      await journal.turn(() => {
        table.map(2, 1, 0x8_0000n);
        table.map(3, 1, 0n);
      }, () => table.unmap(2, 2));
    }],
  ];
  for (const [what, code, act] of cases) {
    const { far, journal, table } = await attached();
    await journal.turn(() => table.map(0, 1, 0x8000n));
    const error = await assertRejects(() => act(far, journal, table), IommuError);
    assertEquals([error.code, journal.failed === error], [code, true], what);
    assert(error.ranges.length > 0);
    const later = await assertRejects(() => journal.turn(() => {}), IommuError);
    assertEquals(later.code, "container-failed");
  }
});

Deno.test("an attach in steps, and guest calls between them, keep their order before a slow host", async () => {
  const far = new SimulatedHost();
  await using journal = new HostJournal(farAway(far));
  const table = new GuestTable({ pages: 64 });
  for (let page = 0; page < 64; page += 2) table.map(page, 1, BigInt(page) << 16n);
  using space = new AddressSpace({ name: "bus", root: table.region });
  using container = new VfioContainer({ host: journal });
  const steps = await journal.turn(() => container.attachSteps(space));
  const turns: Promise<unknown>[] = [];
  for (let page = 0; page < 64; page++) {
    turns.push(journal.turn(() => steps.step(2)));
    turns.push(journal.turn(() => page % 3 === 0 ? table.unmap(63 - page) : table.map(page, 1, 0x77n << 20n)));
  }
  await Promise.all(turns);
  await journal.turn(() => {
    while (!steps.step(100).done);
  });
  assertEquals(mappings(far).length, [...container.mappings()].length);
  assert(verify(container).agrees);
  for (const [page, { target }] of table.pages) assertEquals(far.translate(page << 12n)?.gpa, target);
  await journal.turn(() => container.detach());
  assertEquals(far.size, 0);
});

Deno.test("what an act throws passes on when the host is done, and a disposed journal takes no turn", async () => {
  const { far, journal, table } = await attached();
  await assertRejects(
    () =>
      journal.turn(() => {
        table.map(0, 1, 0x8000n);
        throw new RangeError("not mine");
      }),
    RangeError,
    "not mine",
  );
  assertEquals(far.size, 1);
  await journal[Symbol.asyncDispose]();
  const error = await assertRejects(() => journal.turn(() => {}), IommuError);
  assertEquals(error.code, "disposed");
});

Deno.test("random guests before hosts that refuse at random: after every turn both sides agree, or the journal has failed", async () => {
  const step = fc.record({
    first: fc.nat(15),
    targets: fc.array(fc.option(fc.nat(3), { nil: undefined }), { minLength: 1, maxLength: 4 }),
    refuse: fc.option(fc.nat(3), { nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const { far, journal, table, container } = await attached(20);
      for (const { first, targets, refuse } of steps) {
        const values = targets.map((target) =>
          target === undefined ? undefined : { target: BigInt(target) << 12n, perm: 3 as const }
        );
        const old = values.map((_, at) => table.pages.get(BigInt(first + at)));
        let maps = 0;
        far.failWhen({ call: ({ call }) => call === "MAP" && maps++ === refuse });
        try {
          await journal.turn(() => table.write(first, values), () => table.write(first, old));
        } catch (error) {
          assert(error instanceof IommuError && error.code === "host-refused" && journal.failed === undefined);
        }
        far.failNoMore();
        assert(verify(container).agrees);
        for (let page = 0n; page < 20n; page++) {
          assertEquals(far.translate(page << 12n)?.gpa, table.pages.get(page)?.target);
        }
      }
    }),
    { numRuns: 60 },
  );
});
