// `giommu conformance`: what recorded guests did to QEMU, done to the machine of this project.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "./paths.ts";
import { bytes, type Ended, giommu } from "./run_giommu.ts";

const VECTORS = fromFileUrl("../data/vectors");

// deno-lint-ignore no-explicit-any -- the shape is the command's contract, which these tests spell out
type Json = any;

/** Runs the command on files with these texts, in a folder of their own. */
async function onFiles(
  texts: Readonly<Record<string, string | Uint8Array>>,
  run: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(texts)) {
      await Deno.writeFile(`${folder}/${name}`, typeof text === "string" ? bytes(text) : text);
    }
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function text(name: string): string {
  return Deno.readTextFileSync(`${VECTORS}/${name}.jsonl`);
}

function assertRefused({ code, stdout, stderr }: Ended, reason: RegExp): void {
  assertEquals([code, stdout], [2, ""], stderr);
  assertMatch(stderr, /^giommu: [^\n]+\n$/);
  assertMatch(stderr, reason);
}

Deno.test("conformance plays a folder: a line per scenario, and the sum as the last", async () => {
  const { code, stdout, stderr } = await giommu(["conformance", VECTORS]);
  assertEquals([code, stderr], [0, ""]);
  const lines = stdout.trimEnd().split("\n");
  assertEquals(lines.length, 31);
  assertEquals(lines.at(-1), "6083 passed, 0 failed");
  assertMatch(lines[0] ?? "", /^big_default_window\.jsonl +40 operations: all agree$/);
});

Deno.test("conformance --json tells each scenario, the sums, and no difference where there is none", async () => {
  const [first, second] = [`${VECTORS}/put_get.jsonl`, `${VECTORS}/vio_dma.jsonl`];
  const { code, stdout, stderr } = await giommu(["conformance", second, "--json", first]);
  assertEquals([code, stderr], [0, ""]);
  assertEquals(JSON.parse(stdout), {
    scenarios: [
      { file: second, ops: 55, passed: 55, failed: 0 },
      { file: first, ops: 69, passed: 69, failed: 0 },
    ],
    passed: 124,
    failed: 0,
    differences: [],
  });
});

Deno.test("conformance tells what differs, by number, operation, field and both values: exit 1", async () => {
  const altered = text("dma_translate")
    .replace(/("op": "H_PUT_TCE".*?"ret": )0/, "$1-4")
    .replace(/("xlate": \[\["0x80000000", "0x[0-9a-f]+", "0x[0-9a-f]+", )3/, "$10")
    .replace(/("final_windows": \[\{"liobn": ")0x80000000/, "$10x80000001");
  const lines = text("dma_translate").split("\n");
  await onFiles(
    { "altered.jsonl": altered, "whole.jsonl": text("put_get"), "README.md": "no recording" },
    async (folder) => {
      const file = `${folder}/altered.jsonl`;
      const json = await giommu(["conformance", `${folder}/`, "--json"]);
      assertEquals([json.code, json.stderr], [1, ""]);
      const report: Json = JSON.parse(json.stdout);
      assertEquals(Object.keys(report), ["scenarios", "passed", "failed", "differences"]);
      const ops = lines.length - 1;
      assertEquals(report.scenarios, [
        { file, ops, passed: ops - 3, failed: 3 },
        { file: `${folder}/whole.jsonl`, ops: 69, passed: 69, failed: 0 },
      ]);
      assertEquals([report.passed, report.failed], [ops - 3 + 69, 3]);
      const [put, xlate, last] = report.differences;
      const nOf = (part: RegExp) => JSON.parse(lines.find((line) => part.test(line)) ?? "").n;
      assertEquals(put, { file, n: nOf(/H_PUT_TCE/), op: "H_PUT_TCE", field: "ret", expected: -4, actual: 0 });
      assertEquals([xlate.file, xlate.n, xlate.field, xlate.expected[0][3], xlate.actual[0][3]], [
        file,
        nOf(/"xlate": \[\["0x80000000", "0x[0-9a-f]+", "0x[0-9a-f]+", 3/),
        "xlate",
        0,
        3,
      ]);
      assertMatch(xlate.op, /^DMA_/);
      const window = { liobn: "0x80000000", bus: "0x0", size: "0x40000000" };
      const expected = [{ ...window, liobn: "0x80000001" }];
      assertEquals(last, { file, n: null, op: "final_windows", field: "final_windows", expected, actual: [window] });

      const people = await giommu(["conformance", folder]);
      assertEquals(people.code, 1);
      assertEquals(people.stdout.trimEnd().split("\n"), [
        `altered.jsonl   ${ops} operations: 3 failed`,
        `  n ${put.n}, H_PUT_TCE: ret was -4 in the recording, is 0 here`,
        `  n ${xlate.n}, ${xlate.op}: xlate[0][3] was 0 in the recording, is 3 here`,
        "  final_windows[0].liobn was 0x80000001 in the recording, is 0x80000000 here",
        "whole.jsonl     69 operations: all agree",
        `${ops - 3 + 69} passed, 3 failed`,
      ]);
    },
  );
});

Deno.test("conformance shows the first ten differences of a scenario and says how many more there are", async () => {
  const altered = text("put_get").replaceAll(`"ret": 0`, `"ret": 1`);
  const wrong = (altered.match(/"ret": 1/g) ?? []).length;
  await onFiles({ "a.jsonl": altered }, async (folder) => {
    const { stdout } = await giommu(["conformance", folder]);
    const lines = stdout.trimEnd().split("\n");
    assertEquals(lines.length, 1 + 10 + 1 + 1);
    assertEquals(lines[11], `  and ${wrong - 10} more differences; --json has all`);
    assertEquals(lines[12], `${69 - wrong} passed, ${wrong} failed`);
  });
});

Deno.test("conformance counts what it does not know as failed", async () => {
  const more = text("put_get").replace(
    `{"final_windows"`,
    `{"n": 900, "op": "H_CEDE\\u001b[31m", "args": []}\n{"n": 901, "op": "REBOOT", "cold": true}\n{"final_windows"`,
  );
  await onFiles({ "a.jsonl": more }, async (folder) => {
    const { code, stdout } = await giommu(["conformance", `${folder}/a.jsonl`]);
    assertEquals(code, 1);
    assertEquals(stdout.trimEnd().split("\n").slice(1), [
      `  n 900, "H_CEDE\\u001b[31m": this machine has no such operation`,
      "  n 901, REBOOT: cold was true in the recording, is nothing here",
      "69 passed, 2 failed",
    ]);
  });
});

Deno.test("conformance refuses what is no recording, in one line and before anything is printed", async () => {
  const good = text("put_get");
  const files = {
    "good.jsonl": good,
    "empty.jsonl": "",
    "text.jsonl": "hello\n",
    "binary.jsonl": new Uint8Array([0xff, 0xfe, 0, 0x80]),
    "array.jsonl": "[]\n[]\n[]\n",
    "facts.jsonl": `${good.split("\n")[0]}\n`,
    "cut.jsonl": good.slice(0, good.length - 40),
    "middle.jsonl": good.split("\n").slice(1).join("\n"),
    "args.jsonl": good.replace(`"args": ["0x80000000"`, `"args": [{"x": 1}`),
    "huge.jsonl": good.replace(`"args": ["0x80000000"`, `"args": [1e400`),
    "bridge.jsonl": good.replace(`"dma_win_size": "0x40000000"`, `"dma_win_size": "0x0"`),
    "twice.jsonl": good.replace(/"phbs": \[(.*?\]\})\]/, `"phbs": [$1, $1]`),
    "wide.jsonl": good.replace(`"dma_win_size": "0x40000000"`, `"dma_win_size": "0xffffffffffffffff"`),
  };
  await onFiles(files, async (folder) => {
    const refused = async (name: string, reason: RegExp) =>
      assertRefused(await giommu(["conformance", `${folder}/good.jsonl`, `${folder}/${name}`, "--json"]), reason);
    await refused("empty.jsonl", /empty\.jsonl, line 1: it is empty$/m);
    await refused("text.jsonl", /text\.jsonl, line 1: it is not JSON$/m);
    await refused("binary.jsonl", /binary\.jsonl: it is not UTF-8 text$/m);
    await refused("array.jsonl", /array\.jsonl, line 1: it is a list of 0, not an object$/m);
    await refused("facts.jsonl", /facts\.jsonl, line 1: nothing follows it$/m);
    await refused("cut.jsonl", /cut\.jsonl, line 69: it is not JSON$/m);
    await refused("middle.jsonl", /middle\.jsonl, line 1: it has no ram$/m);
    await refused("args.jsonl", /args\.jsonl, line 2: args\[0\] is an object, not a number/);
    await refused("huge.jsonl", /huge\.jsonl, line 2: args\[0\] is Infinity, not a number/);
    await refused("bridge.jsonl", /Cannot play the recording .*bridge\.jsonl: /);
    await refused("twice.jsonl", /Cannot play the recording .*twice\.jsonl: /);
    await refused("wide.jsonl", /Cannot play the recording .*wide\.jsonl: /);
    await refused("nothing.jsonl", /nothing\.jsonl: there is no such file or folder$/m);
  });
});

Deno.test("conformance refuses folders without recordings, and arguments that make no sense", async () => {
  await onFiles({ "README.md": "no recording" }, async (folder) => {
    assertRefused(await giommu(["conformance", folder]), /holds no recording/);
    await Deno.mkdir(`${folder}/folder.jsonl`);
    assertRefused(await giommu(["conformance", folder]), /folder\.jsonl/);
  });
  assertRefused(await giommu(["conformance"]), /no recording given/);
  assertRefused(await giommu(["conformance", "--frobnicate", VECTORS]), /unknown option --frobnicate/);
  assertRefused(await giommu(["conformance", ""]), /no name/);
  assertRefused(await giommu(["conformance", VECTORS], undefined, []), /read/);
  const device = await giommu(["conformance", "/dev/zero"]);
  assertRefused(device, /more than 64\.0 MB/);
});

Deno.test("conformance --help tells how operations are counted", async () => {
  const { code, stdout, stderr } = await giommu(["conformance", "--help"], undefined, []);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /Usage: giommu conformance FILE\|FOLDER\.\.\./);
  assertMatch(stdout, /Exit status/);
  assert(stdout.includes("final_windows"));
});
