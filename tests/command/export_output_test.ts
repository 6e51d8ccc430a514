// Where `giommu export` writes: a file that is there once it is complete, a pipe, and nothing that it must not.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, recording } from "./paths.ts";
import { bytes, deflated, giommu, inflated } from "./run_giommu.ts";

const LOG = recording("hotplug-two-windows.log.gz");

/** Runs with leave to write into a new folder only; returns what is in it afterwards. */
async function inFolder(
  run: (folder: string, exported: (...args: string[]) => ReturnType<typeof giommu>) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder, (...args) => giommu(["export", ...args], undefined, ["--allow-read", `--allow-write=${folder}`]));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function filesIn(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
}

for (const format of ["perfetto", "csv", "jsonl", "parquet"]) {
  Deno.test(`${format}: input that is damaged leaves no file, and an old one as it was`, async () => {
    await inFolder(async (folder, exported) => {
      const cut = `${folder}/cut.log.gz`;
      await Deno.writeFile(cut, (await Deno.readFile(recording("hotplug-1g-4k.log.gz"))).subarray(0, 30_000));
      const [fresh, old] = [`${folder}/fresh`, `${folder}/old`];
      await Deno.writeTextFile(old, "what was there");
      for (const output of [fresh, old]) {
        const ended = await exported(cut, "--format", format, "--output", output);
        assertEquals([ended.code, ended.stdout], [2, ""]);
        assertMatch(ended.stderr, /^giommu: .*cut or damaged[^\n]*\n$/);
      }
      assertEquals(filesIn(folder), ["cut.log.gz", "old"]);
      assertEquals(await Deno.readTextFile(old), "what was there");
    });
  });

  Deno.test(`${format}: empty logs, foreign ones and streams are bad input and leave nothing`, async () => {
    const inputs = [new Uint8Array(), await deflated(""), bytes("QEMU says hello\n".repeat(1000))];
    for (const input of [...inputs, await Deno.readFile(recording("migration-ddw-on.mig.gz"))]) {
      const ended = await giommu(["export", "-", "--format", format], input);
      assertEquals([ended.code, ended.stdout], [2, ""]);
      assertMatch(ended.stderr, /^giommu: [^\n]+\n$/);
    }
    await inFolder(async (folder, exported) => {
      await Deno.writeTextFile(`${folder}/foreign.log`, "QEMU says hello\n");
      assertEquals((await exported(`${folder}/foreign.log`, "--format", format, "--output", `${folder}/x`)).code, 2);
      assertEquals(filesIn(folder), ["foreign.log"]);
    });
  });
}

Deno.test("A file gets what standard output would, and its name says the format", async () => {
  await inFolder(async (folder, exported) => {
    for (const format of ["csv", "jsonl"]) {
      const ended = await exported(LOG, "--output", `${folder}/events.${format}`);
      assertEquals([ended.code, ended.stderr], [0, ""]);
      assertMatch(ended.stdout, /Written +.*: 2,264 rows, /);
      const { stdout } = await giommu(["export", LOG, "--format", format]);
      assertEquals(await Deno.readTextFile(`${folder}/events.${format}`), stdout);
    }
    const report = await exported(LOG, "--format", "perfetto", "--output", `${folder}/trace.json`, "--json");
    const { rows, count, output } = JSON.parse(report.stdout);
    assertEquals([rows, output], ["trace", `${folder}/trace.json`]);
    const { traceEvents } = JSON.parse(await Deno.readTextFile(output));
    assertEquals(traceEvents.filter(({ ph }: { ph: string }) => ph !== "M").length, count);
    assertEquals(filesIn(folder), ["events.csv", "events.jsonl", "trace.json"]);
  });
});

Deno.test("The input is not overwritten, by its name, a link or a hard link", async () => {
  await inFolder(async (folder, exported) => {
    const log = `${folder}/qemu.csv`;
    await Deno.copyFile(LOG, log);
    await Deno.symlink(log, `${folder}/link.csv`);
    await Deno.link(log, `${folder}/hard.csv`);
    const before = await Deno.readFile(log);
    for (
      const output of [
        log,
        `${folder}/../${folder.split("/").at(-1)}/qemu.csv`,
        `${folder}/link.csv`,
        `${folder}/hard.csv`,
      ]
    ) {
      const ended = await exported(log, "--output", output);
      assertEquals([ended.code, ended.stdout], [2, ""]);
      assertMatch(ended.stderr, /is the input/);
    }
    assertEquals(await Deno.readFile(log), before);
    assertEquals(filesIn(folder), ["hard.csv", "link.csv", "qemu.csv"]);
  });
});

Deno.test("What a link leads to is replaced, and the link stays", async () => {
  await inFolder(async (folder, exported) => {
    await Deno.writeTextFile(`${folder}/real.csv`, "old");
    await Deno.symlink(`${folder}/real.csv`, `${folder}/link.csv`);
    assertEquals((await exported(LOG, "--output", `${folder}/link.csv`)).code, 0);
    assert((await Deno.lstat(`${folder}/link.csv`)).isSymlink);
    assertMatch(await Deno.readTextFile(`${folder}/real.csv`), /^line,time_us,/);
  });
});

Deno.test("A named pipe is written to as it is", async () => {
  await inFolder(async (folder, exported) => {
    const fifo = `${folder}/fifo`;
    assertEquals((await new Deno.Command("mkfifo", { args: [fifo] }).output()).code, 0);
    const reader = new Deno.Command("cat", { args: [fifo], stdout: "piped" }).output();
    const ended = await exported(LOG, "--format", "csv", "--output", fifo);
    assertEquals([ended.code, ended.stderr], [0, ""]);
    assertEquals(new TextDecoder().decode((await reader).stdout).split("\n").length, 2266);
    assertEquals(filesIn(folder), ["fifo"]);
  });
});

Deno.test("What cannot be written says so in one line, and nothing is left", async () => {
  await inFolder(async (folder, exported) => {
    for (const output of [`${folder}/none/x.csv`, folder]) {
      const ended = await exported(LOG, "--format", "csv", "--output", output);
      assertEquals([ended.code, ended.stdout], [2, ""]);
      assertMatch(ended.stderr, /^giommu: --output: [^\n]+\n$/);
    }
    const ended = await giommu(["export", LOG, "--output", `${folder}/x.csv`]);
    assertEquals([ended.code, ended.stdout], [2, ""]);
    assertMatch(ended.stderr, /^giommu: --output: cannot write .*--allow-write is needed for its folder\n$/);
    assertEquals(filesIn(folder), []);
  });
});

Deno.test("Ctrl-C leaves no file", async () => {
  await inFolder(async (folder) => {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--no-prompt", "--quiet", "--allow-read", `--allow-write=${folder}`],
        ...[fromFileUrl("../../packages/cli/main.ts"), "export", "-", "--output", `${folder}/x.csv`],
      ],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(bytes((await inflated(LOG)).repeat(20)));
    // Its file is there, under another name, and it waits for more.
    while (filesIn(folder).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(filesIn(folder).includes("x.csv"), false);
    child.kill("SIGINT");
    const { code } = await child.status;
    await writer.abort().catch(() => {});
    assertEquals([code, filesIn(folder)], [130, []]);
  });
});

Deno.test("A reader that goes away early is no error, in any format", async () => {
  for (const format of ["perfetto", "csv", "jsonl", "parquet"]) {
    const shell = new Deno.Command("sh", {
      args: [
        "-c",
        `"$0" run --no-prompt --quiet --allow-read "$1" export "$2" --format ${format} | head -c 10 >/dev/null`,
        Deno.execPath(),
        fromFileUrl("../../packages/cli/main.ts"),
        recording("hotplug-1g-4k.log.gz"),
      ],
    });
    const { code, stderr } = await shell.output();
    assertEquals([code, new TextDecoder().decode(stderr)], [0, ""], format);
  }
});

for (const kind of ["perfetto", "csv", "jsonl", "parquet", "lifetimes"]) {
  Deno.test(`${kind}: memory does not grow with the log`, async () => {
    // 40 MB of log, of which nothing but what is mapped fits: 300,000 rows take more than this heap.
    const log = bytes((await inflated(recording("hotplug-1g-4k.log.gz"))).repeat(100));
    const format = kind === "lifetimes" ? ["csv", "--rows", "lifetimes"] : [kind];
    const ended = await giommu(["export", "-", "--output", "/dev/null", "--json", "--format", ...format], log, [
      "--v8-flags=--max-heap-size=64",
      "--allow-read",
      "--allow-write=/dev/null",
    ]);
    assertEquals([ended.code, ended.stderr], [0, ""]);
    const { count, input } = JSON.parse(ended.stdout);
    assert(input.lines > 400_000 && count > 100_000);
  });
}

Deno.test("A damaged .gz gives the rows before the damage to whoever reads along, and exits with 2", async () => {
  const whole = await Deno.readFile(recording("hotplug-1g-4k.log.gz"));
  const full = (await giommu(["export", "-", "--format", "csv"], whole)).stdout;
  const ended = await giommu(["export", "-", "--format", "csv"], whole.subarray(0, 30_000));
  assertEquals(ended.code, 2);
  assert(ended.stdout.length > 1000 && full.startsWith(ended.stdout));
  assertMatch(ended.stderr, /^giommu: [^\n]+\n$/);
});

Deno.test("Arguments that make no sense end in one line that says what would", async () => {
  for (
    const args of [
      [LOG],
      [LOG, "--format", "xml"],
      [LOG, "--format", "csv", "--rows", "columns"],
      [LOG, "--format", "perfetto", "--rows", "events"],
      [LOG, "--format", "csv", "--json"],
      [LOG, LOG, "--format", "csv"],
      [LOG, "--output", "x.json"],
      ["--format", "csv"],
      [LOG, "--format", "csv", "--at", "5"],
      ["/nonexistent", "--format", "csv"],
      [recording("hotplug-vtd.log.gz"), "--format", "csv", "--rows", "lifetimes"],
    ]
  ) {
    const ended = await giommu(["export", ...args]);
    assertEquals([ended.code, ended.stdout], [2, ""], args.join(" "));
    assertMatch(ended.stderr, /^giommu: [^\n]+\n$/, args.join(" "));
  }
});

Deno.test("--help of both commands tells their options", async () => {
  for (const command of ["diff", "export"]) {
    const { code, stdout, stderr } = await giommu([command, "--help"], undefined, []);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /Usage: giommu/);
    assertMatch(stdout, /Exit status/);
  }
});
