// `giommu export` as rows: the same in every format, one per event, and lifetimes that add up to the tables at any line.
import { RebuiltMachine } from "@giommu/qemu-trace";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { parquetReadObjects } from "hyparquet";
import { recording } from "./paths.ts";
import { bytes, giommu, inflated } from "./run_giommu.ts";

/** A cell as text; `""` for none. */
type Cells = Readonly<Record<string, string>>;

async function exported(args: readonly string[], input?: Uint8Array): Promise<string> {
  const ended = await giommu(["export", ...args], input);
  assertEquals([ended.code, ended.stderr], [0, ""]);
  return ended.stdout;
}

/** Reads RFC 4180. */
function fromCsv(text: string): Cells[] {
  const cells = Array.from(text.matchAll(/("(?:[^"]|"")*"|[^,\n]*)(,|\n)/g), ([, cell = "", end]) => ({
    cell: cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell,
    end,
  }));
  const rows: string[][] = [[]];
  for (const { cell, end } of cells) {
    rows.at(-1)?.push(cell);
    if (end === "\n") rows.push([]);
  }
  assertEquals(rows.pop(), [], "ends with a line end");
  const [names = [], ...rest] = rows;
  return rest.map((row) => {
    assertEquals(row.length, names.length);
    return Object.fromEntries(names.map((name, at) => [name, row[at] ?? ""]));
  });
}

function fromJsonLines(text: string): Cells[] {
  return text.trimEnd().split("\n").map((line) =>
    Object.fromEntries(
      Object.entries(JSON.parse(line)).map(([name, cell]) => [
        name,
        cell === null ? "" : typeof cell === "object" ? JSON.stringify(cell) : String(cell),
      ]),
    )
  );
}

const HEXADECIMAL = new Set(["liobn", "iova", "last", "target", "value"]);

async function fromParquet(path: string): Promise<Cells[]> {
  const file = (await Deno.readFile(path)).buffer;
  return (await parquetReadObjects({ file })).map((row: Record<string, unknown>) =>
    Object.fromEntries(
      Object.entries(row).map(([name, cell]) => {
        if (cell === null || cell === undefined) return [name, ""];
        return [name, HEXADECIMAL.has(name) ? `0x${BigInt(cell as bigint).toString(16)}` : String(cell)];
      }),
    )
  );
}

for (const name of ["hotplug-two-windows", "hotplug-linux", "hotplug-vtd"]) {
  for (const rows of ["events", "lifetimes"]) {
    if (name === "hotplug-vtd" && rows === "lifetimes") continue; // it has no sPAPR tables
    Deno.test(`${name}: ${rows} are the same in CSV, JSON lines and Parquet`, async () => {
      const log = recording(`${name}.log.gz`);
      const folder = await Deno.makeTempDir();
      try {
        const rights = ["--allow-read", `--allow-write=${folder}`];
        const parquet = `${folder}/${rows}.parquet`;
        const ended = await giommu(["export", log, "--rows", rows, "--output", parquet, "--json"], undefined, rights);
        assertEquals([ended.code, ended.stderr], [0, ""]);
        const csv = fromCsv(await exported([log, "--format", "csv", "--rows", rows]));
        assert(csv.length > 40);
        assertEquals(fromJsonLines(await exported([log, "--format", "jsonl", "--rows", rows])), csv);
        assertEquals(await fromParquet(parquet), csv);
        const report = JSON.parse(ended.stdout);
        const { size } = await Deno.stat(parquet);
        assertEquals([report.format, report.rows, report.count, report.bytes], ["parquet", rows, csv.length, size]);
        assertEquals(Array.from(Deno.readDirSync(folder), (entry) => entry.name), [`${rows}.parquet`]);
        if (rows === "events") assertEquals(report.count, report.input.events);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });
  }
}

Deno.test("Each event has its row, with the addresses of its line", async () => {
  const text = await inflated(recording("hotplug-1g-4k.log.gz"));
  const lines = text.split("\n");
  let compared = 0;
  for (const row of fromCsv(await exported(["-", "--format", "csv"], bytes(text)))) {
    const line = lines[Number(row["line"]) - 1] ?? "";
    const [, thread, seconds, micros, event] = /^(\d+)@(\d+)\.(\d+):(\w+)/.exec(line) ?? [];
    assertEquals([row["thread"], row["time_us"], row["event"]], [thread, `${seconds}${micros}`, event]);
    const notify = /iommu (\w+) @ (\w+) - (\w+)$/.exec(line);
    const put = /pci_put liobn=(\w+) ioba=(\w+) tce=(\w+) ret=(\d+)/.exec(line);
    if (notify !== null) assertEquals([row["what"], row["iova"], row["last"]], notify.slice(1));
    if (put !== null) assertEquals([row["liobn"], row["iova"], row["value"], row["ret"]], put.slice(1));
    if (notify !== null || put !== null) compared++;
  }
  assert(compared > 3000);
});

/** The pages that a machine has mapped after a line. */
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

/** The pages whose lifetimes say so. */
function livingAt(rows: readonly Cells[], line: number): Set<string> {
  const pages = new Set<string>();
  for (const { liobn, iova, last, pages: count, target, perm, from_line, to_line } of rows) {
    if (Number(from_line) > line || (to_line !== "" && Number(to_line) <= line)) continue;
    const [start, size] = [BigInt(iova ?? ""), BigInt(last ?? "") - BigInt(iova ?? "") + 1n];
    for (let at = 0n; at < size; at += size / BigInt(count ?? "")) {
      const page = `${Number(liobn)} ${start + at} ${BigInt(target ?? "") + at} ${perm}`;
      assert(!pages.has(page), "no page lives twice");
      pages.add(page);
    }
  }
  return pages;
}

for (const name of ["hotplug-1g-4k", "hotplug-linux", "hotplug-two-windows", "boot-multitce-off", "boot-ddw-on"]) {
  Deno.test(`${name}: at any line, the lifetimes that span it are what is mapped there`, async () => {
    const text = await inflated(recording(`${name}.log.gz`));
    const log = bytes(text);
    const rows = fromCsv(await exported(["-", "--format", "csv", "--rows", "lifetimes"], log));
    const lines = text.trimEnd().split("\n");
    // What a new table means, only the next line shows: a place between the two is neither here nor there.
    const calls = lines.flatMap((line, at) =>
      /spapr_iommu_(?:pci_)?(?:put|stuff|indirect|xlate)/.test(line) ? [at + 1] : []
    );
    const places = Array.from({ length: 12 }, (_, i) => calls[Math.floor((i + 1) * (calls.length - 1) / 12)] ?? 1);
    let most = 0;
    for (const line of [...places, lines.length]) {
      const mapped = mappedAt(log, line);
      most = Math.max(most, mapped.size);
      assertEquals(livingAt(rows, line), mapped, `line ${line}`);
    }
    assert(most > 5);
    for (const { from_line, from_event, to_line, to_event } of rows) {
      assertMatch(lines[Number(from_line) - 1] ?? "", new RegExp(`:${from_event} `));
      if (to_line !== "") assertMatch(lines[Number(to_line) - 1] ?? "", new RegExp(`:${to_event}\\b`));
    }
  });
}

Deno.test("A mapping is ended by the call that did it, or by the table's end, or by nothing", async () => {
  const log = [
    "spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x5000 tcevalue=0x0 npages=4 ret=0",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x20001 ret=0",
    "spapr_iommu_pci_indirect liobn=0x80000000 ioba=0x2000 tcelist=0x0 iobaN=0x1 tceN=0x30003 ret=0",
    "foreign",
    "spapr_iommu_xlate liobn=0x80000000 0x2000 -> 0x40000 perm=3 mask=0xfff",
    "spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x3000 tcevalue=0x0 npages=2 ret=0",
    "spapr_iommu_ddw_reset buid=0x800000020000000 addr=0x0",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x9000 tce=0x50003 ret=0",
  ];
  const rows = fromCsv(await exported(["-", "--format", "csv", "--rows", "lifetimes"], bytes(log.join("\n"))));
  assertEquals(
    rows.map(({ iova, target, perm, from_line, from_event, to_line, to_event }) => [
      `${iova} ${target} ${perm}`,
      `${from_line} ${from_event}`,
      `${to_line} ${to_event}`,
    ]),
    [
      ["0x1000 0x10000 rw", "2 spapr_iommu_pci_put", "3 spapr_iommu_pci_put"],
      ["0x1000 0x20000 r", "3 spapr_iommu_pci_put", "7 spapr_iommu_pci_stuff"],
      ["0x2000 0x40000 rw", "6 spapr_iommu_xlate", "7 spapr_iommu_pci_stuff"],
      ["0x3000 0x30000 rw", "4 spapr_iommu_pci_indirect", "8 spapr_iommu_ddw_reset"],
      ["0x9000 0x50000 rw", "9 spapr_iommu_pci_put", " "],
    ],
  );
});

Deno.test("A last line that was cut has no row", async () => {
  const whole = "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0\n" +
    "spapr_iommu_xlate liobn=0x80000000 0x1000 -> 0x10000 perm=3 mask=0xfff\n";
  // In the name, in a field, in the last number: the latter alone would parse.
  for (const cut of [60, 20, 2]) {
    const text = whole.slice(0, -cut);
    assertEquals(fromCsv(await exported(["-", "--format", "csv"], bytes(text))).length, 1, text);
  }
  assertEquals(fromCsv(await exported(["-", "--format", "csv"], bytes(whole.trimEnd()))).length, 2);
});
