import { assert, assertEquals, assertThrows } from "@std/assert";
import { IommuError } from "@giommu/core";
import { KernelLogReader, type KernelRecord, readKernelLog } from "./kernel_log.ts";
import { type QemuFailure, QemuStderrReader, readQemuStderr } from "./qemu_stderr.ts";

function path(name: string): URL {
  return new URL(`../../tests/data/doctor/${name}`, import.meta.url);
}

async function kernelLog(name: string): Promise<KernelRecord[]> {
  return await Array.fromAsync(readKernelLog(path(name)));
}

Deno.test("the kernel's log of a recording is read whole: every map is unmapped in the end", async () => {
  const records = await kernelLog("hotplug-1g-4k.kernel.gz");
  assertEquals(records.length, 4458);
  const held = new Map<bigint, bigint>();
  for (const record of records) {
    assert(record.thread !== undefined && record.cpu === 0 && record.time !== undefined);
    assertEquals(record.task, "qemu-system-ppc");
    if (record.event === "map") held.set(record.start, record.last);
    if (record.event === "unmap") {
      assertEquals(record.unmapped, record.last - record.start + 1n);
      // The driver's test maps two pages at once and unmaps them one by one.
      for (const [start, last] of held) {
        if (start >= record.start && start <= record.last && last >= start) held.delete(start);
      }
    }
  }
  assertEquals(held.size, 0);
});

Deno.test("what QEMU printed is read whole, with errors and memory", async () => {
  const failures: QemuFailure[] = await Array.fromAsync(readQemuStderr(path("limit-64.stderr.gz")));
  assertEquals(failures.length, 3124);
  assertEquals(Map.groupBy(failures, ({ errno }) => errno).get(17)?.length, 2);
  assertEquals(failures.filter(({ time }) => time !== undefined).length, 1042);
  assert(failures.every(({ kind, start, last, memory }) => kind === "map" && start! < last! && memory !== undefined));
});

Deno.test("pieces of any size give the same records", async () => {
  const text = new Uint8Array(
    await new Response(
      (await Deno.open(path("limit-64.kernel.gz"))).readable.pipeThrough(new DecompressionStream("gzip")),
    )
      .arrayBuffer(),
  );
  const whole = await kernelLog("limit-64.kernel.gz");
  assertEquals(whole.length, 262);
  for (const size of [1, 100, 4097]) {
    using reader = new KernelLogReader();
    const found: KernelRecord[] = [];
    for (let at = 0; at < text.length; at += size) found.push(...reader.feed(text.subarray(at, at + size)));
    found.push(...reader.feed(new Uint8Array(), true));
    assertEquals(found, whole);
    assertEquals(reader.counts, { lines: 274, events: 262, unparsed: 0 });
  }
});

Deno.test("readers that were disposed say so", () => {
  for (const reader of [new KernelLogReader(), new QemuStderrReader()]) {
    reader[Symbol.dispose]();
    reader[Symbol.dispose]();
    assertThrows(() => reader.counts, IommuError, "disposed");
  }
});
