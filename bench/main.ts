/**
 * Measures giommu beside its peer, a program in C, and writes docs/performance.md.
 *
 *     deno task bench                    everything, several minutes
 *     deno task bench --quick            under two minutes, small tables; nothing is written
 *     deno task bench --only replay      rows whose metric or group has this in its name; nothing is written
 *     deno task bench --rounds 20 --json
 *     deno task bench --shift 19         large tables have 2^19 entries, not 2^24: they fit into a cache
 *     deno task bench --write            writes the page, pictures included (only a full run may)
 *
 * Exit status: 0; 1 if the run is void, or with `--quick` if a metric is below half of its goal; 2 for bad arguments.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { growth, type Picture } from "./growth.ts";
import { type HostMaps, hostMaps } from "./host_maps.ts";
import { type Measured, Measurement, type Row } from "./measure.ts";
import { Peer, run } from "./peer.ts";
import { forTerminal, isPublished, metricsOf, page, type Place } from "./report.ts";
import { javascriptRows } from "./rows/from_javascript.ts";
import { logRows, RepeatedLog } from "./rows/logs.ts";
import { Programs, startRows } from "./rows/start.ts";
import { tableRows, Tables } from "./rows/tables.ts";

const DOCS = new URL("../docs/", import.meta.url);

interface Options {
  readonly quick: boolean;
  readonly json: boolean;
  readonly write: boolean;
  readonly only: string | undefined;
  readonly rounds: number;
  /** Entries of large tables, as a power of two. */
  readonly shift: number;
}

const HELP = `Usage: deno task bench [--quick] [--only NAME] [--rounds N] [--shift N] [--json] [--write]

Measures giommu beside a peer in C. --write (full runs only) writes docs/performance.md and its pictures.
`;

function optionsOf(args: readonly string[]): Options | undefined {
  const known = parseArgs([...args], {
    boolean: ["quick", "json", "write", "help"],
    string: ["only", "rounds", "shift"],
    unknown: (name) => {
      throw new RangeError(`'${name}' is not an option of the benchmark`);
    },
  });
  if (known.help) return undefined;
  const rounds = Number(known.rounds ?? (known.quick ? 4 : 9));
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new RangeError(`--rounds ${known.rounds} is not a number of rounds`);
  }
  const shift = Number(known.shift ?? (known.quick ? 23 : 24));
  if (!Number.isInteger(shift) || shift < 15 || shift > 25) {
    throw new RangeError(`--shift ${known.shift} is not from 15 to 25`);
  }
  if (known.write && (known.quick || known.only !== undefined || known.shift !== undefined)) {
    throw new RangeError("--write needs a full run: leave out --quick, --only and --shift");
  }
  return { quick: known.quick, json: known.json, write: known.write, only: known.only, rounds, shift };
}

function say(text: string): void {
  if (Deno.stderr.isTerminal()) Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

/** The peer's own ratios, as performance.md of the design measured them: put : translate : replay. */
async function checkPeer(peer: Peer): Promise<string | undefined> {
  const least = async (command: string, count: number) => {
    let best = Infinity;
    for (let round = 0; round < 15; round++) best = Math.min(best, (await peer.ask(command)).nanoseconds / count);
    return best;
  };
  const entries = 2 ** 19;
  await peer.ask("fill 19 1 4294967296");
  const replay = await least("replay value", entries);
  const translate = await least(`translate sequential ${entries}`, entries);
  const put = await least(`put value sequential ${entries} 1`, entries);
  const within = (ratio: number, expected: number) => ratio > expected * .75 && ratio < expected * 1.25;
  // 16 : 1.9 : 2.9 there; a translation here also visits its address, as the loop of ours does.
  if (within(put / translate, 16 / 1.9) && within(put / replay, 16 / 2.9)) return undefined;
  return `the peer is not in QEMU's shape on this machine: put ${put.toFixed(1)}, translate ${
    translate.toFixed(1)
  }, replay ${replay.toFixed(1)} ns, where 16 : 1.9 : 2.9 is expected`;
}

async function placeOf(): Promise<Place> {
  const info = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
  return {
    cpu: /^model name\s*:\s*(.*)$/m.exec(info)?.[1] ?? `a CPU of ${Deno.build.arch}`,
    cores: navigator.hardwareConcurrency,
    compiler: await run("cc", ["--version"]) ?? "no C compiler",
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    date: new Date().toISOString().slice(0, 10),
  };
}

async function main(options: Options): Promise<number> {
  await using stack = new AsyncDisposableStack();
  let peer = await Peer.start();
  if (peer === undefined) console.error("There is no C compiler (cc): the columns of the peer are left out");
  else {
    stack.use(peer);
    let complaint = await checkPeer(peer);
    // A machine that does something else for a moment is no reason to give up.
    for (let again = 0; complaint !== undefined && again < 3; again++) complaint = await checkPeer(peer);
    if (complaint !== undefined) {
      console.error(`The run is void: ${complaint}`);
      if (!options.quick) return 1;
      // The gate runs on machines of all kinds: what needs no peer is judged all the same.
      peer = undefined;
    }
  }
  const tables = new Tables(peer);
  stack.defer(() => tables.free());
  const programs = stack.use(new Programs());
  const bytes = options.quick ? 50e6 : 500e6;
  const log = stack.use(new RepeatedLog("hotplug-linux.log.gz", bytes));
  const other = stack.use(new RepeatedLog("boot-ddw-on.log.gz", bytes));
  const rows: Row[] = [
    ...tableRows(tables, peer, options.shift),
    ...javascriptRows(peer, options.quick ? 18 : 22),
    ...logRows("a hotplug into Linux", log),
    ...logRows("a boot with a large window", other),
    ...await startRows(programs, options.quick ? 10 : 25),
  ];
  const wanted = rows.filter(({ group, goals }) =>
    options.only === undefined ||
    [group, ...goals.map(({ metric }) => metric)].some((name) => name.includes(options.only ?? ""))
  );
  if (wanted.length === 0) throw new RangeError(`--only ${options.only} names no row`);
  // In two passes: a machine that does something else for some seconds spoils one of them.
  const passes = options.quick ? 1 : 2;
  const measurements = wanted.map((row) => ({ row, measurement: new Measurement(row) }));
  for (let pass = 0; pass < passes; pass++) {
    // The last rows have filled the peer's table with something else.
    tables.free();
    for (const [at, { row, measurement }] of measurements.entries()) {
      say(`${pass * wanted.length + at + 1} of ${passes * wanted.length}: ${row.goals[0]?.metric ?? row.group}`);
      await measurement.measure(Math.ceil(Math.min(options.rounds, row.rounds ?? Infinity) / passes));
    }
  }
  const measured = measurements.map(({ measurement }) => measurement.result);
  say("");
  const whole = options.only === undefined && !options.quick;
  const maps: HostMaps[] = whole ? await hostMaps() : [];
  const pictures: Picture[] = options.write ? growth() : [];
  if (options.json) console.log(JSON.stringify(measured.flatMap(metricsOf), null, 2));
  else {
    console.log(forTerminal(measured));
    for (const { guest, pages, maps: { none, call, full } } of maps) {
      console.log(`${guest}: ${pages} pages, ${none} maps by page, ${call} by call, ${full} by run`);
    }
  }
  if (options.write) await write(measured, maps, pictures);
  return options.quick && measured.some(isFarBelow) ? 1 : 0;
}

/** Whether a goal is missed by so much that it is no matter of the machine. */
function isFarBelow({ row, figures }: Measured): boolean {
  return row.goals.some((goal) => {
    const ratio = goal.ratio(figures);
    const far = ratio !== undefined && !isPublished(goal) && ratio < (goal.floor ?? goal.least / 2);
    if (far) {
      console.error(`Far below its goal: ${goal.metric}, ${ratio.toPrecision(3)}x where ${goal.text} is asked`);
    }
    return far;
  });
}

async function write(
  measured: readonly Measured[],
  maps: readonly HostMaps[],
  pictures: readonly Picture[],
): Promise<void> {
  const notes = await Deno.readTextFile(new URL("performance-notes.md", import.meta.url)).catch(() => "");
  const text = page(measured, maps, pictures, await placeOf(), notes.replace(/^<!--.*?-->\n*/s, ""));
  await Deno.mkdir(new URL("performance/", DOCS), { recursive: true });
  for (const { file, svg } of pictures) await Deno.writeTextFile(new URL(`performance/${file}`, DOCS), svg);
  await Deno.writeTextFile(new URL("performance.md", DOCS), text);
}

if (import.meta.main) {
  try {
    const options = optionsOf(Deno.args);
    if (options === undefined) console.log(HELP);
    else Deno.exitCode = await main(options);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    console.error(`bench: ${error.message}`);
    Deno.exitCode = 2;
  }
}
