// `giommu export --format perfetto`: a trace that a viewer can open, and whose tracks and counters say what the log says.
import { RebuiltMachine } from "@giommu/qemu-trace";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { recording } from "./paths.ts";
import { bytes, giommu, inflated } from "./run_giommu.ts";

interface TraceEvent {
  readonly ph: "M" | "X" | "B" | "E" | "i" | "C";
  readonly pid: number;
  readonly tid?: number;
  readonly name?: string;
  readonly ts?: number;
  readonly dur?: number;
  readonly args: Readonly<Record<string, string | number>>;
}

interface Trace {
  readonly traceEvents: readonly TraceEvent[];
  readonly otherData: Readonly<Record<string, string | number | null>>;
}

const [GUEST, QEMU, HOST] = [1, 2, 3];

async function traced(input: Uint8Array): Promise<Trace> {
  const ended = await giommu(["export", "-", "--format", "perfetto"], input);
  assertEquals([ended.code, ended.stderr], [0, ""]);
  return JSON.parse(ended.stdout);
}

interface Slice {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly depth: number;
  readonly args: Readonly<Record<string, string | number>>;
}

/** The slices of each track, as a viewer stacks them. Fails if they do not nest, or a track goes back in time. */
function slicesOf({ traceEvents }: Trace): Map<string, Slice[]> {
  const tracks = new Map<string, Slice[]>();
  const open = new Map<string, { name: string; start: number; args: TraceEvent["args"] }[]>();
  const reached = new Map<string, number>();
  for (const { ph, pid, tid, name = "", ts = NaN, dur = NaN, args } of traceEvents) {
    if (ph === "M" || ph === "C") continue;
    const track = `${pid} ${tid}`;
    assert(Number.isSafeInteger(ts) && ts >= 0, `${ph} ${name} at ${ts}`);
    assert(ts >= (reached.get(track) ?? 0), `track ${track} goes back at ${ts}`);
    const stack = open.get(track) ?? [];
    open.set(track, stack);
    const slices = tracks.get(track) ?? [];
    tracks.set(track, slices);
    reached.set(track, ts);
    if (ph === "B") stack.push({ name, start: ts, args });
    if (ph === "E") {
      const begun = stack.pop();
      assert(begun !== undefined, `an end without a beginning on ${track}`);
      slices.push({ ...begun, end: ts, depth: stack.length, args: { ...begun.args, ...args } });
    }
    if (ph === "X") {
      assert(dur >= 0);
      slices.push({ name, start: ts, end: ts + dur, depth: stack.length, args });
      reached.set(track, ts + dur); // slices of one track that have their duration do not overlap
    }
  }
  for (const [track, stack] of open) assertEquals(stack.length, 0, `everything on ${track} ends`);
  return tracks;
}

/** The slices of the tracks of one process. */
function ofProcess(tracks: Map<string, Slice[]>, pid: number | undefined): [tid: number, slices: Slice[]][] {
  return [...tracks].filter(([track]) => track.startsWith(`${pid} `)).map(([track, slices]) => [
    Number(track.split(" ")[1]),
    slices,
  ]);
}

/** A counter's values, by when they begin to hold. */
function counter({ traceEvents }: Trace, pid: number | undefined, name: string): [ts: number, value: number][] {
  const values = traceEvents.filter((event) => event.ph === "C" && event.pid === pid && event.name === name)
    .map(({ ts, args }): [number, number] => [ts ?? NaN, Number(args["value"])]);
  for (const [at, [ts]] of values.entries()) {
    assert(at === 0 || ts > (values[at - 1]?.[0] ?? NaN), "one value per time");
  }
  return values;
}

function valueAt(values: readonly [ts: number, value: number][], ts: number): number {
  return values.findLast(([since]) => since <= ts)?.[1] ?? 0;
}

const HOTPLUGS = ["hotplug-1g-4k", "hotplug-1g-4k-noxlate", "hotplug-linux", "hotplug-two-windows"];

for (const name of [...HOTPLUGS, "hotplug-vtd", "boot-multitce-off", "boot-ddw-on"]) {
  Deno.test(`${name}: tracks are named, nest and never go back`, async () => {
    const trace = await traced(await Deno.readFile(recording(`${name}.log.gz`)));
    const tracks = slicesOf(trace);
    assert(tracks.size > 0);
    const named = trace.traceEvents.filter(({ name }) => name === "thread_name").map(({ pid, tid }) => `${pid} ${tid}`);
    assertEquals(new Set(named), new Set(tracks.keys()));
    assertEquals(named.length, tracks.size, "each is named once");
    const processes = trace.traceEvents.filter(({ name }) => name === "process_name").map(({ pid }) => pid);
    assertEquals(new Set(processes), new Set(trace.traceEvents.map(({ pid }) => pid)));
  });
}

for (const name of [...HOTPLUGS, "boot-multitce-off", "boot-ddw-on"]) {
  Deno.test(`${name}: at any time, the counters of mapped pages are what the tables say`, async () => {
    const log = bytes(await inflated(recording(`${name}.log.gz`)));
    const trace = await traced(log);
    const first = BigInt(trace.otherData["first_timestamp_us"] ?? "");
    const all = trace.traceEvents.flatMap(({ ph, ts }) => ph === "M" || ts === undefined ? [] : [ts]).sort((a, b) =>
      a - b
    );
    const times = Array.from({ length: 16 }, (_, i) => all[Math.floor(i * (all.length - 1) / 15)] ?? 0);
    let most = 0;
    for (const ts of times) {
      using machine = new RebuiltMachine();
      machine.stopAt({ time: first + BigInt(ts) });
      let stop = machine.feed(log, true);
      while (stop !== "limit" && stop !== "end") stop = machine.resume();
      for (const { liobn, mapped } of machine.tables) {
        const values = counter(trace, GUEST, `mapped pages of 0x${liobn.toString(16)}`);
        assertEquals(valueAt(values, ts), mapped, `table ${liobn.toString(16)} at ${ts}`);
        most = Math.max(most, mapped);
      }
    }
    assert(most > 5);
  });
}

/** How many mappings QEMU asked for after each line of a log, the plain way. */
function* hostMaps(text: string): Generator<[time: bigint, maps: number]> {
  const maps = new Map<bigint, bigint>();
  const sections = new Map<string, [bigint, bigint]>();
  const unmap = (start: bigint, last: bigint): void => {
    for (const [from, to] of maps) {
      if (start <= from && to <= last) maps.delete(from);
    }
  };
  for (const line of text.split("\n")) {
    const [, seconds, micros, event, rest = ""] = /^\d+@(\d+)\.(\d{6}):(\w+) (.*)$/.exec(line) ?? [];
    if (seconds === undefined || micros === undefined) continue;
    const [start, last] = Array.from(rest.matchAll(/0x[0-9a-f]+/g), ([hex]) => BigInt(hex));
    if (event === "vfio_listener_region_del_iommu") unmap(...sections.get(rest.split(" ")[2] ?? "") ?? [1n, 0n]);
    if (start !== undefined && last !== undefined) {
      const isMap = event === "vfio_iommu_map_notify" && rest.startsWith("iommu MAP") ||
        event === "vfio_listener_region_add_ram";
      if (isMap && !maps.has(start)) maps.set(start, last);
      if (event === "vfio_iommu_map_notify" && rest.startsWith("iommu UNMAP")) unmap(start, last);
      if (event === "vfio_listener_region_del") unmap(start, last);
      if (event === "vfio_listener_region_add_iommu") sections.set(rest.split(" ")[2] ?? "", [start, last]);
    }
    yield [BigInt(seconds + micros), maps.size];
  }
}

for (const name of [...HOTPLUGS, "hotplug-vtd"]) {
  Deno.test(`${name}: at every line, the counter of host maps is what QEMU asked for`, async () => {
    const text = await inflated(recording(`${name}.log.gz`));
    const trace = await traced(bytes(text));
    const values = counter(trace, HOST, "host maps");
    const first = BigInt(trace.otherData["first_timestamp_us"] ?? "");
    // Of the lines of one moment the last one counts.
    const expected = new Map(hostMaps(text));
    for (const [time, maps] of expected) assertEquals(valueAt(values, Number(time - first)), maps, `at ${time}`);
    assert([...expected.values()].some((maps) => maps > 1));
  });
}

for (const name of HOTPLUGS) {
  Deno.test(`${name}: hotplugs hold their replays, and what is told live lies in the guest's calls`, async () => {
    const log = bytes(await inflated(recording(`${name}.log.gz`)));
    const trace = await traced(log);
    using machine = new RebuiltMachine();
    for (let stop = machine.feed(log, true); stop !== "end";) stop = machine.resume();
    const tracks = slicesOf(trace);
    const [[, qemu] = [0, []]] = ofProcess(tracks, QEMU);
    const hotplugs = qemu.filter(({ name }) => name === "hotplug");
    assertEquals(hotplugs.map(({ args }) => args["line"]), machine.hotplugs.map(({ line }) => line));
    for (const [at, { start, end }] of hotplugs.entries()) {
      const replays = qemu.filter(({ depth, ...one }) => depth === 1 && one.start >= start && one.end <= end);
      const { liobns = [], comparison } = machine.hotplugs[at] ?? {};
      assertEquals(replays.map(({ name }) => name), liobns.map((liobn) => `replay of tce-iommu-${liobn.toString(16)}`));
      assertEquals(replays.reduce((sum, { args }) => sum + Number(args["maps"]), 0), comparison?.replayed);
      assert(replays.every(({ start, end }) => end > start));
    }
    const calls = new Map(ofProcess(tracks, GUEST));
    let [live, replayed] = [0, 0];
    for (const [tid, slices] of ofProcess(tracks, HOST)) {
      for (const { name, start, end } of slices) {
        if (name !== "MAP" && name !== "UNMAP") continue;
        const inside = (outer: Slice): boolean => outer.start <= start && end <= outer.end;
        if ((calls.get(tid) ?? []).some(inside)) live++;
        else {
          assert(hotplugs.some(inside), `${name} at ${start} is neither live nor replayed`);
          replayed++;
        }
      }
    }
    const notified = [...calls.values()].flat().reduce((sum, { args }) => sum + Number(args["notified"] ?? 0), 0);
    assertEquals(live, notified);
    assertEquals(replayed, hotplugs.reduce((sum, _, at) => sum + (machine.hotplugs[at]?.comparison?.replayed ?? 0), 0));
    assert(live > 100);
  });
}

Deno.test("The guest's calls are slices with what they said", async () => {
  const log = [
    "7@5.000001:spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0",
    "7@5.000010:vfio_iommu_map_notify iommu UNMAP @ 0x1000 - 0x1fff",
    "7@5.000030:vfio_iommu_map_notify iommu UNMAP @ 0x2000 - 0x2fff",
    "7@5.000045:spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x3000 tcevalue=0x0 npages=2 ret=0",
  ];
  const tracks = slicesOf(await traced(bytes(log.join("\n"))));
  const stuff = { iova: "0x1000", last: "0x2fff", pages: 2, value: "0x0", perm: "", ret: 0, liobn: "0x80000000" };
  const [put, second] = tracks.get("1 7") ?? [];
  assertEquals([put?.name, put?.start, put?.end, put?.args["target"]], ["H_PUT_TCE", 0, 0, "0x10000"]);
  assertEquals(second, { name: "H_STUFF_TCE", start: 9, end: 44, depth: 0, args: { line: 4, ...stuff, notified: 2 } });
  assertEquals(tracks.get("3 7")?.map(({ name, start, end }) => [name, start, end]), [["UNMAP", 9, 29], [
    "UNMAP",
    29,
    44,
  ]]);
});

Deno.test("A log that ends anywhere makes a whole trace", async () => {
  const text = await inflated(recording("hotplug-1g-4k.log.gz"));
  for (const share of [0.02, 0.1, 0.15, 0.3, 0.55, 0.9]) {
    const trace = await traced(bytes(text.slice(0, Math.floor(text.length * share))));
    slicesOf(trace);
    assert(trace.traceEvents.length > 10);
  }
});

Deno.test("A .gz that was cut makes a whole trace of what could be read, and exits with 2", async () => {
  const whole = await Deno.readFile(recording("hotplug-1g-4k.log.gz"));
  const ended = await giommu(["export", "-", "--format", "perfetto"], whole.subarray(0, 30_000));
  assertEquals(ended.code, 2);
  assertMatch(ended.stderr, /^giommu: .*cut or damaged[^\n]*\n$/);
  const trace: Trace = JSON.parse(ended.stdout);
  slicesOf(trace);
  assert(trace.traceEvents.length > 100);
});

Deno.test("A clock that was set back, and threads that logged at once, leave a trace that goes on", async () => {
  const put = (time: string, page: number): string =>
    `7@${time}:spapr_iommu_pci_put liobn=0x80000000 ioba=0x${page}000 tce=0x10003 ret=0\n`;
  const log = put("9000.000000", 1) + put("9000.000050", 2) + put("9000.000040", 3) + put("100.000000", 4) +
    put("100.000007", 5);
  const trace = await traced(bytes(log));
  assertEquals(slicesOf(trace).get("1 7")?.map(({ start }) => start), [0, 50, 50, 50, 57]);
  assertEquals(trace.otherData["clock_steps"], 1);
});

Deno.test("Without timestamps there is no trace; lines before the first one count, and are not drawn", async () => {
  const put = (page: number): string => `spapr_iommu_pci_put liobn=0x80000000 ioba=0x${page}000 tce=0x10003 ret=0\n`;
  const ended = await giommu(["export", "-", "--format", "perfetto"], bytes(put(1) + put(2)));
  assertEquals([ended.code, ended.stdout], [2, ""]);
  assertMatch(ended.stderr, /^giommu: .*no timestamps.*-msg timestamp=on[^\n]*\n$/);
  const trace = await traced(bytes(`${put(1)}${put(2)}7@5.000000:${put(3)}`));
  assertEquals(slicesOf(trace).get("1 7")?.length, 1);
  assertEquals(counter(trace, GUEST, "mapped pages of 0x80000000"), [[0, 3]]);
  assertEquals(trace.otherData["events_before_the_first_timestamp"], 2);
});

Deno.test("Values at their extremes, and threads without end, make a trace", async () => {
  const all = "0xffffffffffffffff";
  const lines = [
    "1@1.000000:spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1",
    `1@1.000001:vfio_iommu_map_notify iommu MAP @ ${all} - 0x0`,
    `1@1.000002:vfio_iommu_map_notify iommu UNMAP @ 0x0 - ${all}`,
    `1@1.000003:vfio_listener_region_add_iommu region_add [iommu] tce"iommu ${all} - ${all}`,
    `1@1.000004:spapr_iommu_pci_stuff liobn=${all} ioba=${all} tcevalue=${all} npages=9223372036854775807 ret=0`,
    `1@999999999999.000005:iommufd_backend_unmap_dma  iommufd=1 ioas=1 iova=${all} size=${all} (-2)`,
  ];
  for (let thread = 2; thread < 2000; thread++) {
    lines.push(`${thread}@2.000000:spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0`);
  }
  const tracks = slicesOf(await traced(bytes(lines.join("\n"))));
  assert(tracks.size < 600);
  assertEquals(ofProcess(tracks, GUEST).reduce((sum, [, slices]) => sum + slices.length, 0), 1999);
});
