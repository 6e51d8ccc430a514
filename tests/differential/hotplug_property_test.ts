// Random guests, random hotplug points, random windows, and a host that fails at any single call: after every step the
// host holds exactly what the model says, or the documented consequence happened and was said.
import { AddressSpace, ArrayGuestMemory, RamRegion, SpaceMemory } from "@giommu/memory-api";
import { Hcall, SpaprPhb, type TceTable } from "@giommu/spapr-tce";
import { HOST_RULES, type HostRules, SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { BusModel, PAGE, type Reached } from "./bus_model.ts";

const BUS_PAGES = 24;
const FIRST = { first: 0, pages: 16 };
const LIST = 0x10_0000n;

type Step =
  | {
    readonly do: "store";
    readonly window: number;
    readonly page: number;
    readonly values: readonly bigint[];
    readonly call: "put" | "stuff" | "indirect";
  }
  | { readonly do: "plug" | "unplug" | "close" }
  | { readonly do: "open"; readonly first: number; readonly pages: number };

// Few targets, so that neighbours often adjoin; all permissions, and bits that must not matter.
const tce = fc.tuple(fc.integer({ min: 0, max: 20 }), fc.constantFrom(0n, 1n, 2n, 3n, 3n, 3n, 0x7fbn)).map((
  [page, bits],
) => (0x4000n + BigInt(page) * PAGE) | bits);
const run = fc.tuple(tce, fc.integer({ min: 1, max: 6 })).map(([start, count]) =>
  Array.from({ length: count }, (_, at) => start + BigInt(at) * PAGE)
);
const same = fc.tuple(fc.oneof(tce, fc.constant(0n)), fc.integer({ min: 1, max: 8 })).map(([value, count]) =>
  new Array<bigint>(count).fill(value)
);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("store" as const),
      window: fc.nat(1),
      page: fc.nat(15),
      values: run,
      call: fc.constant("indirect" as const),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("store" as const),
      window: fc.nat(1),
      page: fc.nat(15),
      values: same,
      call: fc.constant("stuff" as const),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("store" as const),
      window: fc.nat(1),
      page: fc.nat(15),
      values: tce.map((value) => [value]),
      call: fc.constant("put" as const),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ do: "plug" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "unplug" as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("open" as const),
      first: fc.nat(15),
      pages: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "close" as const }) },
);

/** The machine under test beside the model. */
class Pair implements Disposable {
  readonly model = new BusModel();
  readonly host: SimulatedHost;
  readonly memory: AddressSpace;
  readonly phb: SpaprPhb;
  container: VfioContainer | undefined;
  readonly #coalesce: "auto" | "none" | "call" | "full";
  /** What the device reached before the step, on pages that the step does not touch. */
  untouched = new Map<number, Reached>();

  constructor(rules: HostRules, coalesce: "auto" | "none" | "call" | "full", failAt: number | undefined) {
    const guard = coalesce === "auto" || coalesce === "none" || HOST_RULES[rules].split === "atomic";
    this.#coalesce = coalesce;
    this.host = new SimulatedHost({
      rules,
      iovaRanges: [{ start: 0n, last: 0xffff_ffffn }],
      failAt: failAt === undefined ? [] : [{ call: failAt, errno: "ENOMEM" }],
      observe: () => {
        if (!guard) return;
        for (const [page, reached] of this.untouched) {
          assertEquals(this.host.translate(BigInt(page) * PAGE), reached, `neighbour ${page} lost its translation`);
        }
      },
    });
    const ram = new RamRegion({ name: "ram", size: 0x20_0000n, memory: new ArrayGuestMemory(0x20_0000) });
    this.memory = new AddressSpace({ name: "memory", root: ram });
    this.phb = new SpaprPhb({ index: 0, memory: this.memory, dmaWindow: { size: BigInt(FIRST.pages) * PAGE } });
    this.model.open(0, FIRST);
  }

  table(window: number): TceTable | undefined {
    return this.phb.table(0x8000_0000 + window);
  }

  /** Notes which pages a step must leave alone. */
  note(touches: (busPage: number) => boolean): void {
    this.untouched.clear();
    if (this.container === undefined) return;
    for (let page = 0; page < BUS_PAGES; page++) {
      const reached = this.host.translate(BigInt(page) * PAGE);
      if (reached !== undefined && !touches(page)) this.untouched.set(page, reached);
    }
  }

  /** Guest and model hold the same entries, and the host what a device must reach. */
  compare(): void {
    for (const window of [0, 1]) {
      for (const [index, entry] of this.model.entries(window).entries()) {
        const ioba = BigInt((this.model.windows[window]?.first ?? 0) + index) * PAGE;
        assertEquals(this.table(window)?.getTce(ioba).value, entry, `entry ${index} of window ${window}`);
      }
    }
    if (this.container === undefined) {
      assertEquals(this.host.size, 0, "nothing is plugged in");
      return;
    }
    for (let page = 0; page < BUS_PAGES; page++) {
      assertEquals(this.host.translate(BigInt(page) * PAGE), this.model.reached(page), `bus page ${page}`);
    }
    assertEquals(verify(this.container).agrees, true);
  }

  plug(): void {
    if (this.container !== undefined) return;
    const container = new VfioContainer({ host: this.host, coalesce: this.#coalesce, allowDmaHoles: true });
    try {
      container.attach(this.phb.space);
      this.container = container;
    } catch (error) {
      // The one scripted failure: nothing is left, and a second try works.
      assertEquals((error as { code?: string }).code, "host-refused");
      assertEquals([this.host.size, this.table(0)?.region.notifiers.size], [0, 0]);
      container.attach(this.phb.space);
      this.container = container;
    }
  }

  [Symbol.dispose](): void {
    this.untouched.clear();
    this.host.failNoMore();
    this.container?.[Symbol.dispose]();
    this.phb[Symbol.dispose]();
    this.memory[Symbol.dispose]();
  }
}

function store(pair: Pair, { window, page, values, call }: Extract<Step, { do: "store" }>): void {
  const table = pair.table(window);
  const where = pair.model.windows[window];
  if (table === undefined || where === undefined || page >= where.pages) return;
  const ioba = BigInt(where.first + page) * PAGE;
  const fits = page + values.length <= where.pages;
  // Room for the whole call: a call that runs off the end keeps what it stored, which the vectors show.
  if (!fits) return;
  pair.note((busPage) => busPage >= where.first + page && busPage < where.first + page + values.length);
  const before = pair.model.entries(window).slice();
  let result;
  if (call === "put") result = table.putTce(ioba, values[0] ?? 0n);
  else if (call === "stuff") result = table.stuffTce(ioba, values[0] ?? 0n, BigInt(values.length));
  else {
    const list = new DataView(new ArrayBuffer(values.length * 8));
    for (const [at, value] of values.entries()) list.setBigUint64(at * 8, value);
    const memory = new SpaceMemory(pair.memory);
    assert(memory.write(LIST, new Uint8Array(list.buffer)));
    result = table.putTceIndirect(ioba, LIST, BigInt(values.length), memory);
  }
  if (result.ret === Hcall.SUCCESS) {
    pair.model.store(window, page, values);
    return;
  }
  assert(result.error !== undefined, `the guest got ${result.ret} for no reason`);
  if (result.ret === Hcall.NOT_ENOUGH_RESOURCES && result.error.code === "host-refused") {
    // All or nothing.
    pair.model.store(window, 0, before);
    return;
  }
  if (pair.container?.failed !== undefined || result.error.code === "unmap-failed") throw new Failed();
  // Lost: those entries read 0 on both sides, and no others changed.
  assertEquals([result.ret, result.error.code], [Hcall.NOT_ENOUGH_RESOURCES, "mapping-lost"]);
  for (const [index, entry] of before.entries()) {
    const at = BigInt(where.first + index) * PAGE - table.busOffset;
    if (result.error.ranges.some(({ start, last }) => start <= at && at <= last)) pair.model.store(window, index, [0n]);
    else pair.model.store(window, index, [entry]);
  }
}

/** The container failed, as it must where the host does not unmap. */
class Failed extends Error {}

function perform(pair: Pair, what: Step): void {
  const { model, phb } = pair;
  switch (what.do) {
    case "store":
      return store(pair, what);
    case "plug":
      return pair.plug();
    case "unplug":
      pair.note(() => true);
      pair.container?.detach();
      pair.container?.[Symbol.dispose]();
      pair.container = undefined;
      return;
    case "open": {
      if (model.windows[1] !== undefined) return;
      const { first, pages } = what;
      pair.note((page) => page >= first && page < first + pages);
      phb.addWindow({ window: 1, busOffset: BigInt(first) * PAGE, size: BigInt(pages) * PAGE });
      model.open(1, { first, pages });
      return;
    }
    case "close": {
      const where = model.windows[1];
      const table = pair.table(1);
      if (where === undefined || table === undefined) return;
      pair.note((page) => page >= where.first && page < where.first + where.pages);
      phb.removeWindow(table);
      model.close(1);
      return;
    }
  }
}

const HOSTS = ["none", "type1", "iommufd", "spapr"] as const;
const POLICIES = ["auto", "none", "call", "full"] as const;

for (const rules of HOSTS) {
  for (const coalesce of POLICIES) {
    Deno.test(`Host ${rules}, policy ${coalesce}: it holds what the guest mapped after every step`, () => {
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
          using pair = new Pair(rules, coalesce, undefined);
          for (const what of steps) {
            perform(pair, what);
            pair.compare();
          }
        }),
        { numRuns: 60 },
      );
    });

    Deno.test(`Host ${rules}, policy ${coalesce}: it may fail at any call, and both sides stay in step or it is said`, () => {
      fc.assert(
        fc.property(
          fc.array(step, { minLength: 4, maxLength: 16 }),
          fc.integer({ min: 1, max: 60 }),
          (steps, failAt) => {
            using pair = new Pair(rules, coalesce, failAt);
            try {
              for (const what of [{ do: "plug" } as const, ...steps]) {
                perform(pair, what);
                if (pair.container?.failed !== undefined) throw new Failed();
                pair.compare();
              }
            } catch (error) {
              const failed = pair.container?.failed;
              if (failed === undefined && pair.host.failedCalls === 0) throw error;
              // A window that the host did not take or give back is the caller's error; a failed container says what differs.
              if (failed === undefined) {
                assertEquals((error as { name?: string }).name, "IommuError", String(error));
                return;
              }
              assert(["unmap-failed", "rollback-failed", "mapping-lost"].includes(failed.code), failed.message);
              assert(failed.ranges.length > 0, "it must say which ranges differ");
            }
          },
        ),
        { numRuns: 150 },
      );
    });
  }
}
