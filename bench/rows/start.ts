/** What starting costs: whole processes, beside an empty program. */

import { MODULES, OUTPUT } from "../../tools/wasm/modules.ts";
import { atMost, missed, type Row } from "../measure.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Programs that import one package, and what a hotplug needs. */
const FIRST_REPLAY = `
import { replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { TceTable } from "@giommu/spapr-tce/table";
const table = new TceTable({ liobn: 0x8000_0000, entries: 2 ** 18 });
table.putTce(0n, 3n);
const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
if (replay(table.region, notifier).pages !== 1n) throw new Error("not replayed");
`;

const PACKAGES = ["core", "notifiers", "memory-api", "spapr-tce", "vfio-sync", "qemu-trace"] as const;

/** Programs in a folder of the workspace, as imports by name need its map; removed at the end. */
export class Programs implements Disposable {
  readonly #folder = Deno.makeTempDirSync({ dir: `${ROOT}bench`, prefix: "start-" });

  /** Writes a program; returns its path. */
  write(name: string, text: string): string {
    const path = `${this.#folder}/${name}`;
    Deno.writeTextFileSync(path, text);
    return path;
  }

  /** Bundles a program as people do who ship one; returns the bundle's path. */
  async bundle(path: string): Promise<string> {
    const bundled = path.replace(/\.ts$/, ".bundle.js");
    await deno(["bundle", "--quiet", "--minify", "--output", bundled, path]);
    return bundled;
  }

  /** Removes them. */
  [Symbol.dispose](): void {
    Deno.removeSync(this.#folder, { recursive: true });
  }
}

async function deno(args: string[]): Promise<number> {
  const start = performance.now();
  const ended = await new Deno.Command(Deno.execPath(), { args, stdout: "null", stderr: "piped", cwd: ROOT }).output();
  const time = performance.now() - start;
  if (!ended.success) throw new Error(`deno ${args.join(" ")}:\n${new TextDecoder().decode(ended.stderr)}`);
  return time;
}

const start = (path: string) => deno(["run", "--no-prompt", "--quiet", path]);

/** Milliseconds over an empty program; both are started in turn, and the least of each counts. */
function startRow(
  metric: string,
  program: string | (() => Promise<string>),
  empty: string,
  most: number | undefined,
  rounds: number,
): Row {
  let path = "";
  return {
    group: "a process more than an empty one",
    unit: "ms",
    rounds: 2,
    goals: [
      most === undefined
        ? { metric, text: "published", ratio: ({ ours }) => 5 / ours, least: 0 }
        : atMost(metric, most, "ms"),
    ],
    async before() {
      path = typeof program === "string" ? program : await program();
    },
    async ours() {
      let [least, base] = [Infinity, Infinity];
      for (let round = 0; round < rounds; round++) {
        base = Math.min(base, await start(empty));
        least = Math.min(least, await start(path));
      }
      return Math.max(least - base, 0);
    },
  };
}

/** Start-up and size. */
export async function startRows(programs: Programs, rounds: number): Promise<Row[]> {
  const empty = programs.write("empty.ts", "");
  const first = programs.write("first_replay.ts", FIRST_REPLAY);
  const rows = PACKAGES.map((name) => {
    const path = programs.write(`import_${name}.ts`, `import "@giommu/${name}";\n`);
    return startRow(`import @giommu/${name}, from its sources`, path, empty, undefined, rounds);
  });
  rows.push(
    startRow("import and first replay, from the sources", first, empty, undefined, rounds),
    startRow("import and first replay, bundled", () => programs.bundle(first), empty, 5, rounds),
  );
  for (const name of MODULES) {
    const module: { bytes(): Uint8Array } = await import(`file://${ROOT}${OUTPUT}/${name}_bytes.js`);
    rows.push({
      group: "WebAssembly modules, each made when it is first used",
      unit: "KB",
      rounds: 1,
      // The doctor holds the readers of three kinds of log, and what a log tells of tables: for the command alone.
      goals: [missed(atMost(`module ${name}`, 120, "KB"), .46)],
      ours: () => module.bytes().length / 1000,
    });
  }
  return rows;
}
