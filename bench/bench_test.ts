import { assert, assertAlmostEquals, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type Measured, Measurement, partOfLimit, type Row, timesPeer, withinTuned } from "./measure.ts";
import { plot } from "./plot.ts";
import { Peer } from "./peer.ts";
import { forTerminal, metricsOf, page } from "./report.ts";
import { replayAll, Tables, threshold } from "./rows/tables.ts";
import { ROOT } from "../tools/repository.ts";
import { deno } from "../tools/spawn.ts";

function scripted(...values: number[]): () => number {
  return () => values.shift() ?? NaN;
}

const ROW: Row = {
  group: "group",
  unit: "ns",
  goals: [timesPeer("fast", 2), withinTuned("beside tuned", 2), partOfLimit("near the limit", .7, "memory")],
  ours: scripted(9, 4, 5),
  peer: scripted(10, 12, 11),
  tuned: scripted(3, 3, 3),
  limit: scripted(2, 2, 2),
};

/** A row measured in one piece. */
async function measure(row: Row, rounds: number): Promise<Measured> {
  const measurement = new Measurement(row);
  await measurement.measure(rounds);
  return measurement.result;
}

Deno.test("the least of each column counts, and the first round and the spread of ours are told", async () => {
  const measured = await measure(ROW, 3);
  assertEquals(measured.figures, { ours: 4, peer: 10, tuned: 3, limit: 2 });
  assertEquals([measured.cold, measured.spread], [9, 1.25]);
  const [fast, tuned, limit] = metricsOf(measured);
  assertEquals([fast?.ratio, fast?.met], [2.5, true]);
  assertEquals([tuned?.ratio, tuned?.met], [.75, true], "at most twice the tuned peer's time");
  assertEquals([limit?.ratio, limit?.met], [.5, false]);
  assertStringIncludes(forTerminal([measured]), "not met");
});

Deno.test("a row may be measured in several pieces, and never more often than it says", async () => {
  const measurement = new Measurement({ ...ROW, rounds: 3, ours: scripted(9, 4, 5, 1), peer: () => 8 });
  for (let piece = 0; piece < 3; piece++) await measurement.measure(2);
  assertEquals(measurement.result.figures, { ...measurement.result.figures, ours: 4, peer: 8 });
  assertEquals(measurement.result.cold, 9);
});

Deno.test("a rate is the better the higher", async () => {
  const goals = [partOfLimit("read", .5, "grep", true)];
  const measured = await measure(
    { group: "g", unit: "MB/s", rate: true, goals, ours: scripted(5, 7), limit: () => 10 },
    2,
  );
  assertEquals(measured.figures.ours, 7);
  assertEquals(metricsOf(measured)[0]?.met, true);
});

Deno.test("plot() draws every point inside its frame, and escapes names", () => {
  const svg = plot("a < b", "x", "y", [{ name: "c & d", points: [[1, 10], [1000, .5]] }]);
  assertStringIncludes(svg, "a &lt; b");
  assertStringIncludes(svg, "c &amp; d");
  const places = [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);
  assertEquals(places.length, 2);
  for (const [x = 0, y = 0] of places) assert(x >= 70 && x <= 530 && y >= 34 && y <= 332, `${x}, ${y}`);
});

Deno.test("the page says what is not met, and holds what was written by hand", async () => {
  const place = { cpu: "a CPU", cores: 2, compiler: "cc 1", deno: "2", v8: "1", date: "2026-01-01" };
  const text = page([await measure({ ...ROW, ours: () => 100 }, 1)], [], [], place, "By hand.");
  assertStringIncludes(text, "not met: fast");
  assertStringIncludes(text, "By hand.");
});

Deno.test({
  name: "ours and the peer deliver the same, whatever the entries; a run in which they do not is void",
  ignore: await new Deno.Command("cc", { args: ["--version"], stdout: "null" }).output().then(() => false, () => true),
  async fn() {
    const peer = await Peer.start();
    assert(peer !== undefined);
    await using _ = peer;
    const tables = new Tables(peer);
    try {
      for (const [length, percent] of [[0, 100], [1, 0], [1, 10], [1, 100], [16, 50]] as const) {
        await tables.fill({ shift: 12, length, threshold: threshold(percent) });
        for (const form of ["value", "tuned"]) {
          const delivered = {};
          await tables.ask(`replay ${form}`, delivered);
          tables.time(replayAll, delivered);
        }
      }
      const delivered = {};
      await tables.ask("replay value", delivered);
      await assertRejects(
        async () => {
          await tables.fill({ shift: 12, length: 1, threshold: threshold(30) });
          tables.time(replayAll, delivered);
        },
        Error,
        "void",
      );
    } finally {
      tables.free();
    }
  },
});

Deno.test("a threshold is a probability out of 2^32", () => {
  assertAlmostEquals(threshold(10) / 2 ** 32, .1, 1e-9);
  assertEquals(threshold(100), 2 ** 32);
});

Deno.test("bad options end with exit code 2 and say why", async () => {
  for (
    const [option, why] of [
      ["--rounds=0", "not a number of rounds"],
      ["--fast", "not an option"],
      ["--write --quick", "needs a full run"],
    ] as const
  ) {
    const ended = await deno(["run", "-A", "--no-check", `${ROOT}/bench/main.ts`, ...option.split(" ")]);
    assertEquals([ended.ok, ended.text.includes(why)], [false, true], ended.text);
  }
});
