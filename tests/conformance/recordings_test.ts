// Everything that a guest did to a running QEMU 10.0.2 (30 recordings), done to a SpaprMachine through what the packages
// export: every recorded field must agree. And nothing passes unseen: whatever is altered in a recording is found.
import { IommuError } from "@giommu/core";
import { parseRecording, playRecording, type RecordingDifference } from "@giommu/testing";
import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { type Line, linesText, recordingLines, recordingNames, recordingText } from "./vectors.ts";

function play(name: string, text: string) {
  return playRecording(parseRecording(`${name}.jsonl`, text));
}

function playLines(name: string, lines: readonly Line[]) {
  return play(name, linesText(lines));
}

Deno.test("A SpaprMachine answers all 6,023 recorded operations as QEMU did", () => {
  let [files, operations, passed] = [0, 0, 0];
  for (const name of recordingNames()) {
    const recording = parseRecording(name, recordingText(name));
    const played = playRecording(recording);
    assertEquals(played.differences, [], name);
    files++;
    operations += recording.operations.length;
    passed += played.passed;
  }
  // And one per file for the facts before the first operation, one for the windows after the last.
  assertEquals([files, operations, passed], [30, 6_023, 6_023 + 2 * 30]);
});

const op = (name: string) => (line: Line) => line.op === name;
const has = (field: string) => (line: Line) => field in line;

/** Alters one recorded value; the path's first name is the field. */
interface Alteration {
  readonly name: string;
  readonly pick: (line: Line) => boolean;
  readonly path: readonly (string | number)[];
  readonly value: unknown;
}

const ALTERATIONS: readonly Alteration[] = [
  { name: "put_get", pick: op("H_PUT_TCE"), path: ["ret"], value: -4 },
  { name: "put_get", pick: (line) => line.op === "H_PUT_TCE" && line.ret === -4, path: ["ret"], value: 0 },
  { name: "put_get", pick: op("H_GET_TCE"), path: ["out", 0], value: "0x77" },
  { name: "put_get", pick: op("H_GET_TCE"), path: ["out", 3], value: "0x1" },
  { name: "stuff", pick: op("H_STUFF_TCE"), path: ["out", 2], value: "0xffffffffffffffff" },
  { name: "indirect", pick: op("H_PUT_TCE_INDIRECT"), path: ["ret"], value: "0x0" },
  { name: "rtas_raw", pick: op("H_RTAS"), path: ["ret"], value: -1 },
  { name: "rtas_raw", pick: op("H_RTAS"), path: ["out", 1], value: "0x1" },
  { name: "ddw_lifecycle", pick: op("ibm,create-pe-dma-window"), path: ["rets", 1], value: 2147483648 },
  { name: "ddw_lifecycle", pick: op("ibm,create-pe-dma-window"), path: ["rets", 3], value: 1 },
  { name: "ddw_lifecycle", pick: op("ibm,query-pe-dma-window"), path: ["rets", 4], value: 0 },
  { name: "ddw_lifecycle", pick: op("ibm,create-pe-dma-window"), path: ["status"], value: -1 },
  { name: "ddw_lifecycle", pick: op("ibm,reset-pe-dma-window"), path: ["status"], value: null },
  { name: "ddw_lifecycle", pick: op("ibm,remove-pe-dma-window"), path: ["h_ret"], value: -4 },
  { name: "ddw_lifecycle", pick: op("ibm,remove-pe-dma-window"), path: ["nargs"], value: 2 },
  { name: "ddw_bad_params", pick: has("beyond"), path: ["beyond", "0"], value: 0 },
  { name: "ddw_bad_params", pick: has("beyond"), path: ["beyond"], value: { "1": 4294967293 } },
  { name: "ddw_bad_params", pick: op("unknown-token"), path: ["h_ret"], value: 0 },
  { name: "vio_tables", pick: op("ibm,set-tce-bypass"), path: ["status"], value: -1 },
  { name: "vio_tables", pick: op("quiesce"), path: ["rets", 0], value: 1 },
  { name: "vio_dma", pick: op("H_REGISTER_LOGICAL_LAN"), path: ["ret"], value: -16 },
  { name: "vio_dma", pick: op("H_FREE_LOGICAL_LAN"), path: ["out", 0], value: "0x0" },
  { name: "vio_dma", pick: op("PEEK64"), path: ["data", 1], value: "0x0" },
  { name: "dma_translate", pick: op("PEEK64"), path: ["data", 0], value: "0x8000000000000000" },
  { name: "dma_translate", pick: op("DMA_READ"), path: ["xlate", 0, 0], value: "0x80000001" },
  { name: "dma_translate", pick: op("DMA_READ"), path: ["xlate", 0, 1], value: "0x1" },
  { name: "dma_translate", pick: op("DMA_WRITE"), path: ["xlate", 0, 2], value: "0x1000" },
  { name: "dma_translate", pick: op("DMA_READ"), path: ["xlate", 0, 3], value: 0 },
  { name: "dma_translate", pick: op("DMA_WRITE"), path: ["xlate"], value: [] },
  { name: "liobns", pick: has("final_windows"), path: ["final_windows", 0, "size"], value: "0x1000" },
  { name: "liobns", pick: has("final_windows"), path: ["final_windows", 0, "liobn"], value: "0x0" },
  { name: "liobns", pick: has("final_windows"), path: ["final_windows"], value: [] },
  { name: "liobns", pick: has("scenario"), path: ["windows", 2, "bus"], value: "0x1000" },
  { name: "liobns", pick: has("scenario"), path: ["windows"], value: [] },
  {
    name: "liobns",
    pick: has("scenario"),
    path: ["fdt_dma_windows", "pci@800000020000000", "size"],
    value: "0x1000",
  },
  {
    name: "liobns",
    pick: has("scenario"),
    path: ["fdt_dma_windows", "vdevice/l-lan@71000001", "liobn"],
    value: "0x71000002",
  },
  { name: "put_get", pick: has("scenario"), path: ["fdt_dma_windows"], value: {} },
  { name: "ddw_off", pick: has("scenario"), path: ["ddw_in_fdt"], value: true },
  { name: "put_get", pick: has("scenario"), path: ["ddw_in_fdt"], value: false },
  { name: "put_get", pick: has("scenario"), path: ["phbs", 0, "buid"], value: "0x800000020000001" },
  { name: "put_get", pick: has("scenario"), path: ["phbs", 0, "liobns", 1], value: "0x80000002" },
  { name: "vio_tables", pick: has("scenario"), path: ["vio", 0, "liobn"], value: "0x71000003" },
];

for (const { name, pick, path, value } of ALTERATIONS) {
  const where = path.map((step) => typeof step === "number" ? `[${step}]` : `.${step}`).join("").slice(1);
  Deno.test(`${name}: ${where} altered to ${JSON.stringify(value)} is the one difference that is found`, () => {
    const lines = recordingLines(name);
    const line = lines.find(pick);
    let holder = line;
    for (const step of path.slice(0, -1)) holder = holder[step];
    const last = path[path.length - 1] ?? "";
    const [field] = path;
    assert(last in holder, "the alteration alters something");
    const actual = structuredClone(line[field ?? ""]);
    holder[last] = value;
    const { ops, passed, failed, differences } = playLines(name, lines);
    assertEquals([passed, failed], [ops - 1, 1]);
    const n = line.n ?? null;
    const expected = line[field ?? ""];
    assertEquals(differences, [{ n, op: line.op ?? field, field: String(field), expected, actual }]);
  });
}

Deno.test("A recorded answer that is left out is a difference, and one that is too much as well", () => {
  for (
    const [name, pick] of [
      ["put_get", op("H_GET_TCE")],
      ["ddw_lifecycle", op("ibm,query-pe-dma-window")],
      ["ddw_bad_params", has("beyond")],
      ["dma_translate", op("DMA_READ")],
      ["dma_translate", op("PEEK64")],
      ["liobns", has("scenario")],
    ] as const
  ) {
    const answers = ["ret", "out", "rets", "status", "h_ret", "nargs", "beyond", "data", "xlate"]
      .concat("windows", "phbs", "vio", "ddw_in_fdt", "fdt_dma_windows");
    for (const field of answers) {
      const lines = recordingLines(name);
      const line = lines.find(pick);
      // What the machine is built from cannot be left out.
      if (field in line && field !== "phbs" && field !== "vio") {
        const actual = line[field];
        delete line[field];
        const expected: RecordingDifference = {
          n: line.n ?? null,
          op: line.op ?? field,
          field,
          expected: null,
          actual,
        };
        // The node of a VIO device is named by what kind of device it is, which only the recording knows.
        const { differences } = playLines(name, lines);
        if (field === "fdt_dma_windows") assertEquals(differences.map((one) => one.field), [field]);
        else assertEquals(differences, [expected], `${name} without ${field}`);
      } else if (!(field in line)) {
        line[field] = 0;
        const { differences } = playLines(name, lines);
        assertEquals(differences, [{ n: line.n ?? null, op: line.op ?? field, field, expected: 0, actual: null }]);
      }
    }
  }
});

Deno.test("An operation or a field that is not known is a failure, and the rest is played", () => {
  for (
    const [extra, difference] of [
      [{ op: "H_PUT_TCE_INDIRECTLY", args: [] }, { field: "op", expected: "H_PUT_TCE_INDIRECTLY", actual: null }],
      [{ op: "toString" }, { field: "op", expected: "toString", actual: null }],
      [{ op: "__proto__" }, { field: "op", expected: "__proto__", actual: null }],
      [{ op: "REBOOT", cold: true }, { field: "cold", expected: true, actual: null }],
      [{ op: "POKE64", addr: "0x5000000", data: [], ret: 0 }, { field: "ret", expected: 0, actual: null }],
    ] as const
  ) {
    const lines = recordingLines("put_get");
    lines.splice(-1, 0, { n: 900, ...extra });
    const { passed, differences } = playLines("put_get", lines);
    assertEquals(differences, [{ n: 900, op: extra.op, ...difference }]);
    assertEquals(passed, lines.length - 1);
  }
  const lines = recordingLines("put_get");
  lines[0].fdt_msi_windows = {};
  lines.at(-1).final_entries = 5;
  assertEquals(playLines("put_get", lines).differences, [
    { n: null, op: "fdt_msi_windows", field: "fdt_msi_windows", expected: {}, actual: null },
    { n: null, op: "final_entries", field: "final_entries", expected: 5, actual: null },
  ]);
});

Deno.test("A recording whose machine lacks what an operation needs fails there", () => {
  const lines = recordingLines("dma_translate");
  lines[0].dma_device = false;
  const { differences } = playLines("dma_translate", lines);
  const dma = differences.filter(({ field }) => field === "op");
  assertEquals(dma.length, lines.filter(({ op }) => op?.startsWith("DMA_")).length);

  const stores = recordingLines("put_get");
  stores.splice(1, 0, { n: 900, op: "POKE64", addr: "0xfffffffffffffff8", data: ["0x1", "0x2"] });
  stores.splice(2, 0, { n: 901, op: "PEEK64", addr: "0x10000000", count: 1, data: ["0x0"] });
  assertEquals(playLines("put_get", stores).differences, [
    { n: 900, op: "POKE64", field: "stored", expected: null, actual: false },
    { n: 901, op: "PEEK64", field: "data", expected: ["0x0"], actual: null },
  ]);
});

Deno.test("A recording of a guest with 2^64 - 1 bytes of RAM costs what it touches", () => {
  const lines = recordingLines("put_get");
  lines[0].ram = "0xffffffffffffffff";
  lines.splice(1, 0, { n: 900, op: "POKE64", addr: "0xffffffffffff0000", data: ["0x1"] });
  lines.splice(2, 0, { n: 901, op: "PEEK64", addr: "0xffffffffffff0000", count: 2, data: ["0x1", "0x0"] });
  assertEquals(playLines("put_get", lines).differences, []);
});

/** All places in a line's value, as paths. */
function paths(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof value !== "object" || value === null) return [path];
  const parts = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return [path, ...parts.flatMap(([key, part]) => paths(part, [...path, key]))];
}

Deno.test("Whatever stands in a recording, it is played or refused with the file and the line", () => {
  const anything = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => `0x${value.toString(16)}`),
    fc.constantFrom<unknown>(1e308, -1, 0.5, "0x", "0x10000000000000000", "ibm,create-pe-dma-window", [], {}),
  );
  for (const name of ["ddw_lifecycle", "vio_dma", "rtas_raw", "dma_translate", "big_default_window"]) {
    const lines = recordingLines(name);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(), fc.nat(), anything, fc.boolean()), { minLength: 1, maxLength: 4 }),
        (changes) => {
          const altered = structuredClone(lines);
          for (const [whichLine, whichPath, value, removes] of changes) {
            const at = whichLine % altered.length;
            const found = paths(altered[at]);
            const path = found[whichPath % found.length] ?? [];
            const last = path.at(-1);
            if (last === undefined) {
              altered[at] = value;
              continue;
            }
            let holder = altered[at];
            for (const step of path.slice(0, -1)) holder = holder[step];
            if (removes) delete holder[last];
            else holder[last] = value;
          }
          const text = linesText(altered);
          try {
            const { ops, passed, failed, differences } = play(name, text);
            assertEquals(passed + failed, ops);
            assertEquals(differences.filter(({ field }) => field === "error"), [], "no argument makes a machine throw");
          } catch (error) {
            assert(error instanceof IommuError && error.code === "bad-input", String(error));
            assertMatch(error.message, new RegExp(`^Cannot (read|play) the recording ${name}\\.jsonl[,:] `));
          }
        },
      ),
      { numRuns: 150 },
    );
  }
});
