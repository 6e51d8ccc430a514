import { openInput, RebuiltMachine } from "@giommu/qemu-trace";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Progress } from "../progress.ts";
import type { Row } from "./column.ts";
import { LifetimeRows } from "./lifetime_rows.ts";
import { walkLog } from "./log_walk.ts";

const WINDOWS = [
  { liobn: "0x80000000", page: 0x1000, start: 0 },
  { liobn: "0x80000001", page: 0x1_0000, start: 0x10_0000_0000 },
  { liobn: "0x71000003", page: 0x1000, start: 0 },
];
const hex = (value: number): string => `0x${value.toString(16)}`;

const window = fc.constantFrom(...WINDOWS);
const page = fc.integer({ min: 0, max: 7 });
const target = fc.integer({ min: 0, max: 3 });

/** Lines that change what is mapped, after which nothing is in doubt. */
const call = fc.oneof(
  fc.record({ window, page, target, perm: fc.constantFrom(0, 1, 3) }).map(({ window, page, target, perm }) =>
    `${name(window, "put")} ioba=${hex(window.start + page * window.page)} tce=${
      hex(target * window.page + perm)
    } ret=0`
  ),
  fc.record({ window, page, perm: fc.constantFrom(0, 0, 3), npages: fc.integer({ min: 1, max: 4 }) }).map((
    { window, page, perm, npages },
  ) =>
    `${name(window, "stuff")} ioba=${hex(window.start + (page + npages) * window.page)} ` +
    `tcevalue=${hex(perm)} npages=${npages} ret=0`
  ),
  fc.record({ window, page, more: fc.integer({ min: 0, max: 3 }), target }).map(({ window, page, more, target }) =>
    `${name(window, "indirect")} ioba=${hex(window.start + page * window.page)} tcelist=0x0 iobaN=${hex(more)} ` +
    `tceN=${hex(target * window.page + 3)} ret=0`
  ),
  fc.record({ window, page, target }).map(({ window, page, target }) =>
    `spapr_iommu_xlate liobn=${window.liobn} ${hex(page * window.page)} -> ${hex(target * window.page)} perm=3 ` +
    `mask=${hex(window.page - 1)}`
  ),
);

/** Lines that make, move or remove windows, and what may stand between them. */
const other = fc.constantFrom(
  "spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1",
  "spapr_iommu_new_table liobn=0x80000001 table=0x1 fd=-1",
  "spapr_iommu_new_table liobn=0x71000003 table=0x1 fd=-1",
  "spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=9",
  "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x10000000, " +
    "start addr=0x1000000000, liobn=0x80000001",
  "spapr_iommu_ddw_remove liobn=0x80000001",
  "spapr_iommu_ddw_remove liobn=0x80000000",
  "spapr_iommu_ddw_reset buid=0x800000020000000 addr=0x0",
  "spapr_iommu_pre_save liobn=80000000 20000 bus_offset=0x0 ps=12",
  "spapr_iommu_post_load liobn=80000000 40000 => 0x40000 bus_offset=0x0 ps=12",
  "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff",
  "vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000000",
  "somebody says something",
);

function name({ liobn }: { liobn: string }, what: string): string {
  return `spapr_iommu_${liobn.startsWith("0x8") ? "pci_" : ""}${what} liobn=${liobn}`;
}

async function lifetimes(log: Uint8Array): Promise<Row[]> {
  await using input = await openInput(log);
  using machine = new RebuiltMachine();
  const rows: Row[] = [];
  const visitor = new LifetimeRows({ write: (row) => rows.push(row), end: () => {} }, machine);
  await walkLog({ machine, input, progress: new Progress(false) }, visitor);
  visitor.end();
  assertEquals(visitor.rows, rows.length);
  return rows;
}

function mappedAt(log: Uint8Array, line: number): Set<string> {
  using machine = new RebuiltMachine();
  machine.stopAt({ line });
  let stop = machine.feed(log, true);
  while (stop !== "limit" && stop !== "end") stop = machine.resume();
  const pages = new Set<string>();
  for (const { liobn, pageShift } of machine.tables) {
    for (const { iova, pages: count, target, perm } of machine.mappedRuns(liobn)) {
      for (let i = 0n; i < BigInt(count); i++) {
        const page = i << BigInt(pageShift);
        pages.add(`${liobn} ${iova.start + page} ${target + page} ${["", "r", "w", "rw"][perm]}`);
      }
    }
  }
  return pages;
}

function livingAt(rows: readonly Row[], line: number): Set<string> {
  const pages = new Set<string>();
  for (const [liobn, iova, last, count, target, perm, from, , , to] of rows) {
    if (Number(from) > line || (to !== null && Number(to) <= line)) continue;
    const size = BigInt(last as bigint) - BigInt(iova as bigint) + 1n;
    for (let at = 0n; at < size; at += size / BigInt(count as number)) {
      const page = `${Number(liobn)} ${BigInt(iova as bigint) + at} ${BigInt(target as bigint) + at} ${perm}`;
      assert(!pages.has(page), "no page lives twice");
      pages.add(page);
    }
  }
  return pages;
}

Deno.test("lifetimes add up to the tables after every call, whatever windows come, go and are reset in between", async () => {
  const step = fc.oneof({ weight: 3, arbitrary: call }, { weight: 1, arbitrary: other });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (lines) => {
      const log = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
      const rows = await lifetimes(log);
      for (const [at, line] of lines.entries()) {
        if (!/put|stuff|indirect|xlate/.test(line)) continue;
        assertEquals(livingAt(rows, at + 1), mappedAt(log, at + 1), `line ${at + 1} of\n${lines.join("\n")}`);
      }
    }),
    { numRuns: 200 },
  );
});

Deno.test("a window that turns out to be larger does not end what is mapped in it", async () => {
  const log = [
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0",
    "spapr_iommu_pre_save liobn=80000000 80000 bus_offset=0x0 ps=12",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x7ffff000 tce=0x20001 ret=0",
  ];
  const rows = await lifetimes(new TextEncoder().encode(log.join("\n")));
  const put = "spapr_iommu_pci_put";
  assertEquals(rows, [
    [0x8000_0000n, 0x1000n, 0x1fffn, 1, 0x1_0000n, "rw", 1, null, put, null, null, null],
    [0x8000_0000n, 0x7fff_f000n, 0x7fff_ffffn, 1, 0x2_0000n, "r", 3, null, put, null, null, null],
  ]);
});
