/** How fast logs are read, beside `grep -c` and JavaScript's own means. */

import { QemuLogReader, RebuiltMachine } from "@giommu/qemu-trace";
import { type Goal, partOfLimit, type Row } from "../measure.ts";

const DATA = new URL("../../tests/data/logs/", import.meta.url);

/** A recording, repeated in a file that is written when it is first asked for: everybody reads the same from the same place. */
export class RepeatedLog implements Disposable {
  readonly #name: string;
  readonly #bytes: number;
  #path: Promise<string> | undefined;
  #written: string | undefined;

  /** `bytes` is how long the file is at least. */
  constructor(name: string, bytes: number) {
    this.#name = name;
    this.#bytes = bytes;
  }

  /** Where the file is. */
  get path(): Promise<string> {
    return this.#path ??= this.#write();
  }

  async #write(): Promise<string> {
    const path = await Deno.makeTempFile({ prefix: "giommu-bench-", suffix: ".log" });
    this.#written = path;
    const packed = await Deno.open(new URL(this.#name, DATA));
    const once = new Uint8Array(
      await new Response(packed.readable.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer(),
    );
    using file = await Deno.open(path, { write: true });
    for (let written = 0; written < this.#bytes; written += once.length) {
      for (let at = 0; at < once.length;) at += file.writeSync(once.subarray(at));
    }
    return path;
  }

  /** Removes the file, if it was written. */
  [Symbol.dispose](): void {
    if (this.#written !== undefined) Deno.removeSync(this.#written);
  }
}

const CHUNK = 1 << 20;

function each(path: string, use: (bytes: Uint8Array) => void): number {
  using file = Deno.openSync(path);
  const buffer = new Uint8Array(CHUNK);
  let total = 0;
  for (let read = file.readSync(buffer); read !== null; read = file.readSync(buffer)) {
    total += read;
    use(buffer.subarray(0, read));
  }
  return total;
}

/** Megabytes per second. */
function rate(work: () => number): number {
  const start = performance.now();
  const bytes = work();
  return bytes / 1e3 / (performance.now() - start);
}

async function grep(path: string): Promise<number> {
  const start = performance.now();
  const { success } = await new Deno.Command("grep", {
    args: ["-c", "spapr_iommu", path],
    env: { LC_ALL: "C" },
    // Not to /dev/null: GNU grep stops at the first line then.
    stdout: "piped",
  }).output();
  if (!success) throw new Error("grep failed");
  return Deno.statSync(path).size / 1e3 / (performance.now() - start);
}

/** How a program would do it that knows nothing of giommu: lines by `split`, events by a regular expression. */
function regularExpressions(path: string): number {
  const put = /^(?:\d+@[\d.]+:)?(\w+) (.*)$/;
  const decoder = new TextDecoder("latin1");
  let rest = "";
  let events = 0;
  return rate(() => {
    const bytes = each(path, (piece) => {
      const lines = (rest + decoder.decode(piece)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const found = put.exec(line);
        if (found === null) continue;
        for (const field of (found[2] ?? "").matchAll(/(\w+)=(0x[0-9a-f]+|-?\d+)/g)) BigInt(field[2] ?? 0);
        events++;
      }
    });
    if (events === 0) throw new Error("no events");
    return bytes;
  });
}

function parse(path: string): number {
  const reader = new QemuLogReader();
  try {
    const speed = rate(() => each(path, (bytes) => reader.skip(bytes)));
    if (reader.counts.events === 0) throw new Error("no events");
    return speed;
  } finally {
    reader[Symbol.dispose]();
  }
}

function apply(path: string): number {
  const machine = new RebuiltMachine();
  try {
    return rate(() =>
      each(path, (bytes) => {
        // A hotplug or an unplug is a reason to stop for who attaches something; here nobody does.
        for (let stop = machine.feed(bytes); stop !== "input";) stop = machine.resume();
      })
    );
  } finally {
    machine[Symbol.dispose]();
  }
}

/** Rows for one recording. */
export function logRows(name: string, log: RepeatedLog): Row[] {
  let path = "";
  const before = async () => {
    path = await log.path;
  };
  const group = `reading a QEMU log (${name})`;
  const grepGoal = (metric: string, least: number): Goal => partOfLimit(metric, least, "grep -c", true);
  return [
    {
      group,
      unit: "MB/s",
      rate: true,
      goals: [
        grepGoal(`parse, ${name}`, .5),
        {
          metric: `parse, ${name}, beside regular expressions`,
          text: "≥ 5x JavaScript's",
          ratio: ({ ours, peer }) => peer && ours / peer,
          least: 5,
        },
      ],
      rounds: 5,
      before,
      ours: () => parse(path),
      peer: () => regularExpressions(path),
      limit: () => grep(path),
    },
    {
      group,
      unit: "MB/s",
      rate: true,
      rounds: 5,
      goals: [grepGoal(`parse and apply, ${name}`, .25)],
      before,
      ours: () => apply(path),
      limit: () => grep(path),
    },
  ];
}
