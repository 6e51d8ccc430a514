import { RebuiltMachine } from "@giommu/qemu-trace";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { diffStates } from "./state_diff.ts";

const ENTRIES = 16;
const page = fc.integer({ min: 0, max: ENTRIES - 1 });
const step = fc.oneof(
  fc.record({
    call: fc.constant("put"),
    page,
    target: fc.integer({ min: 0, max: 5 }),
    perm: fc.integer({ max: 3, min: 0 }),
  }),
  fc.record({ call: fc.constant("stuff"), page, target: page, perm: fc.constantFrom(0, 3) }),
  fc.record({ call: fc.constant("indirect"), page, target: page, perm: fc.constant(3) }),
);
const log = fc.array(step, { maxLength: 12 });
type Log = typeof log extends fc.Arbitrary<infer T> ? T : never;

/** A machine whose table has so many pages of that size at address 0. */
function machineOf(steps: Log, shift: number): RebuiltMachine {
  const machine = new RebuiltMachine({
    windows: [{ liobn: 0x8000_0000, size: BigInt(ENTRIES << 12), pageShift: shift }],
  });
  const entries = (ENTRIES << 12) >> shift;
  let text = "spapr_iommu_new_table liobn=0x80000000 table=(nil) fd=-1\n";
  for (const { call, page, target, perm } of steps) {
    const at = page % entries;
    const hex = (value: number) => `0x${value.toString(16)}`;
    const tce = hex(target << shift | perm);
    const more = Math.min(3, entries - at);
    const name = `spapr_iommu_pci_${call} liobn=0x80000000`;
    if (call === "put") text += `${name} ioba=${hex(at << shift)} tce=${tce} ret=0\n`;
    else if (call === "stuff") text += `${name} ioba=${hex(at + more << shift)} tcevalue=${tce} npages=${more} ret=0\n`;
    else text += `${name} ioba=${hex(at << shift)} tcelist=0x0 iobaN=${hex(more - 1)} tceN=${tce} ret=0\n`;
  }
  machine.feed(new TextEncoder().encode(text), true);
  assertEquals([machine.problemCount, machine.counts.unparsed], [0, 0], text);
  return machine;
}

/** What each page of 4 KiB says, looked up one by one. */
function pagesOf(machine: RebuiltMachine, shift: number): string[] {
  using table = machine.table(0x8000_0000);
  const unknown = new Set<number>();
  for (const { first, pages } of machine.unknownRuns(0x8000_0000)) {
    for (let entry = first; entry < first + pages; entry++) unknown.add(entry);
  }
  return Array.from({ length: ENTRIES }, (_, page) => {
    const entry = (page << 12) >> shift;
    if (unknown.has(entry)) return "?";
    const found = table?.translate(BigInt(page) << 12n);
    if (found === undefined) return "";
    return `${found.target + (BigInt(page) << 12n) - found.iova.start} ${found.perm}`;
  });
}

Deno.test("two states differ in exactly the pages that differ one by one, also where their pages are of different sizes", () => {
  fc.assert(
    fc.property(log, log, fc.constantFrom(12, 14), fc.constantFrom(12, 14), (one, other, shiftA, shiftB) => {
      using a = machineOf(one, shiftA);
      using b = machineOf(other, shiftB);
      const [pagesA, pagesB] = [pagesOf(a, shiftA), pagesOf(b, shiftB)];
      const expected = pagesA.map((inA, page) => {
        const inB = pagesB[page] ?? "";
        if (inA === "?" || inB === "?") return "unknown";
        return inA === inB ? (inA === "" ? "" : "agreed") : inA === "" ? "only-b" : inB === "" ? "only-a" : "changed";
      });
      const { tables: [table], differences, ranges } = diffStates(a, b);
      const unit = Math.min(shiftA, shiftB) - 12;
      const count = (kind: string) => expected.filter((one) => one === kind).length >> unit;
      assertEquals(
        [table?.agreed, table?.onlyA, table?.onlyB, table?.changed, table?.unknown],
        [count("agreed"), count("only-a"), count("only-b"), count("changed"), count("unknown")],
      );
      const found = expected.map((kind): string => kind === "unknown" || kind === "agreed" ? kind : "");
      for (const { kind, iova, pages, a: inA, b: inB } of differences) {
        assertEquals(BigInt(pages) << BigInt(unit + 12), iova.last - iova.start + 1n);
        for (let at = iova.start; at <= iova.last; at += 0x1000n) {
          const page = Number(at >> 12n);
          assertEquals(found[page], "", "ranges do not overlap");
          found[page] = kind;
          const show = (answer: typeof inA) =>
            answer === null ? "" : `${answer.target + at - iova.start} ${answer.perm}`;
          assertEquals([show(inA), show(inB)], [pagesA[page], pagesB[page]]);
        }
      }
      assertEquals([found, ranges], [expected, differences.length]);
      assertEquals(table?.geometryB === undefined, shiftA === shiftB);
    }),
    { numRuns: 300 },
  );
});

Deno.test("a table that only one state has is compared with nothing", () => {
  using a = machineOf([{ call: "put", page: 1, target: 2, perm: 3 }], 12);
  using b = new RebuiltMachine();
  const { tables, differences } = diffStates(a, b);
  assertEquals([tables[0]?.in, tables[0]?.onlyA], ["a", 1]);
  assertEquals(differences, [{
    liobn: 0x8000_0000n,
    kind: "only-a",
    iova: { start: 0x1000n, last: 0x1fffn },
    pages: 1,
    a: { target: 0x2000n, perm: 3 },
    b: null,
  }]);
  assertEquals(diffStates(b, a).tables[0]?.onlyB, 1);
});

Deno.test("ranges go on as long as both sides do", () => {
  const puts = (targets: readonly number[]): Log =>
    targets.map((target, page) => ({ call: "put", page: page + 2, target, perm: 3 }));
  using a = machineOf(puts([1, 2, 3, 4]), 12);
  using b = machineOf(puts([6, 7, 9, 10]), 12);
  assertEquals(diffStates(a, b).differences.map(({ pages, a, b }) => [pages, a?.target, b?.target]), [
    [2, 0x1000n, 0x6000n],
    [2, 0x3000n, 0x9000n],
  ]);
});
