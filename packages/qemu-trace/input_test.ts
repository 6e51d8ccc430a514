import { IommuError } from "@giommu/core";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { bytes, deflated, recording } from "./testdata/recordings.ts";
import { openInput, type TraceInput } from "./input.ts";

async function all(input: TraceInput): Promise<string> {
  let text = "";
  for await (const piece of input) text += new TextDecoder().decode(piece);
  return text;
}

/** A stream that gives its bytes one by one. */
function trickle(data: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < data.length) controller.enqueue(data.subarray(at, ++at));
      else controller.close();
    },
  });
}

const LOG = "spapr_iommu_ddw_remove liobn=0x80000001\n".repeat(40);

Deno.test("openInput() tells logs from streams and .gz from plain bytes, whatever pieces they come in", async () => {
  const sources: [Uint8Array<ArrayBuffer>, string, boolean][] = [
    [bytes(LOG), "log", false],
    [await deflated(bytes(LOG)), "log", true],
    [bytes("QEVM\0\0\0\x03"), "stream", false],
    [await deflated(bytes("QEVM\0\0\0\x03")), "stream", true],
    [bytes(""), "log", false],
    [bytes("Q"), "log", false],
    [new Uint8Array([0x1f]), "log", false],
  ];
  for (const [data, kind, compressed] of sources) {
    for (const source of [data, new Blob([data]), trickle(data)]) {
      await using input = await openInput(source);
      assertEquals([input.kind, input.compressed], [kind, compressed]);
      const text = await all(input);
      if (kind === "stream") assertEquals(text, "QEVM\0\0\0\x03");
      else if (compressed) assertEquals(text, LOG);
      assertEquals(input.bytesRead, data.length);
    }
  }
});

Deno.test("openInput() reads a file and can say how large it is when inflated", async () => {
  await using input = await openInput(recording("hotplug-1g-4k-noxlate.log.gz"));
  assertEquals([input.kind, input.compressed], ["log", true]);
  assertEquals(await input.inflatedSize(), 282_123);
  let length = 0;
  for await (const piece of input) length += piece.length;
  assertEquals(length, 282_123);
  assertEquals(input.bytesRead, input.size);
  await using plain = await openInput(bytes(LOG));
  assertEquals(await plain.inflatedSize(), LOG.length);
  await using pipe = await openInput(trickle(bytes(LOG)));
  assertEquals([pipe.size, await pipe.inflatedSize()], [undefined, undefined]);
});

Deno.test("a .gz that is cut or damaged gives what could be inflated, then an error that says how much", async () => {
  const whole = await deflated(bytes(Array.from({ length: 20_000 }, (_, i) => `${i * 7919}\n`).join("")));
  for (const length of [20, whole.length >> 1, whole.length - 9, whole.length - 1]) {
    let inflated = 0;
    const error = await assertRejects(async () => {
      await using input = await openInput(whole.slice(0, length));
      for await (const piece of input) inflated += piece.length;
    }, IommuError);
    assertEquals(error.code, "bad-input");
    assertStringIncludes(error.message, `${inflated} bytes could be inflated`);
  }
  const damaged = whole.slice();
  damaged[whole.length >> 1]! ^= 0xff;
  await assertRejects(
    async () => {
      await using input = await openInput(damaged);
      await all(input);
    },
    IommuError,
    "gzip data is cut or damaged",
  );
});

Deno.test("several gzip files one after the other are refused, not read in part", async () => {
  const one = await deflated(bytes(LOG));
  const two = new Uint8Array([...one, ...one]);
  const error = await assertRejects(async () => {
    await using input = await openInput(two);
    await all(input);
  }, IommuError);
  assertStringIncludes(error.remedy ?? "", "zcat");
});

Deno.test("openInput() names a file that it cannot open or read", async () => {
  const error = await assertRejects(() => openInput("/nowhere/to/be/found"), IommuError, "/nowhere/to/be/found");
  assertEquals(error.code, "bad-input");
  await assertRejects(() => openInput("."), IommuError, "Cannot read .");
  // deno-lint-ignore no-explicit-any
  await assertRejects(() => openInput(7 as any), TypeError, "expected a path");
});

Deno.test("an input that was closed reads no more, and closing twice is fine", async () => {
  const input = await openInput(bytes(LOG));
  await input[Symbol.asyncDispose]();
  await input[Symbol.asyncDispose]();
  const first = await input.read();
  assert(first === undefined || first.length > 0);
  await assertRejects(() => input.read(), IommuError, "closed");
});

Deno.test("a stream that was given is cancelled when the input is closed early", async () => {
  let cancelled = false;
  const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => controller.enqueue(bytes(LOG)),
    cancel: () => {
      cancelled = true;
    },
  });
  {
    await using input = await openInput(endless);
    await input.read();
  }
  assert(cancelled);
});
