import { IommuError } from "@giommu/core";
import { assertEquals, assertThrows } from "@std/assert";
import { parseRecording } from "./recording.ts";

const PHB = {
  index: 0,
  buid: "0x800000020000000",
  ddw: true,
  page_size_mask: "0x1211000",
  dma_win_addr: "0x0",
  dma_win_size: "0x40000000",
  dma64_win_addr: "0x800000000000000",
  liobns: ["0x80000000", "0x80000001"],
};
const FACTS = { ram: "0x10000000", phbs: [PHB], vio: [{ unit: "0x71000001" }], dma_device: true };
const LAST = { final_windows: [] };

function text(...lines: unknown[]): string {
  return lines.map((line) => typeof line === "string" ? line : JSON.stringify(line)).join("\n") + "\n";
}

/** The state that a refused recording's error tells, after the line's number. */
function refused(text: string, line: number): string {
  const error = assertThrows(() => parseRecording("a.jsonl", text), IommuError);
  const start = `Cannot read the recording a.jsonl, line ${line}: `;
  assertEquals([error.code, error.message.slice(0, start.length)], ["bad-input", start]);
  return error.message.slice(start.length);
}

Deno.test("parseRecording() reads the machine, the operations and what was answered", () => {
  const recording = parseRecording(
    "a.jsonl",
    text(
      FACTS,
      { n: 0, op: "H_PUT_TCE", args: ["0x80000000", "0x0", "0xFFFFFFFFFFFFFFFF"], ret: 0, out: [] },
      { n: 1, op: "ibm,remove-pe-dma-window", args: [4294967295], nret: 1, status: -3 },
      { n: 2, op: "POKE64_SEQ", addr: "0x8", count: 3, start: "0x1", step: "0x2" },
      { n: 3, op: "DMA_READ", bus: "0x10", len: 4096, off: 0, xlate: [] },
      { n: 4, op: "H_FREE_LOGICAL_LAN", args: ["0x71000001"], ret: -16 },
      "",
      LAST,
    ),
  );
  assertEquals(recording.machine.phbs.length, 1);
  assertEquals(recording.machine.vios, [0x7100_0001]);
  assertEquals(recording.operations.map(({ action }) => action), [
    { kind: "hcall", opcode: 0x20n, args: [0x8000_0000n, 0n, 0xffff_ffff_ffff_ffffn] },
    { kind: "rtas", token: 0x2028, args: [0xffff_ffff], nret: 1 },
    { kind: "sequence", address: 8n, count: 3, start: 1n, step: 2n },
    { kind: "dma", reads: true, bus: 0x10n, length: 4096, offset: 0 },
    { kind: "lan", registers: false, args: [0x7100_0001n] },
  ]);
  assertEquals(recording.operations[1]?.answer, { status: -3 });
});

Deno.test("parseRecording() leaves what it does not know to whoever plays it", () => {
  const recording = parseRecording(
    "a.jsonl",
    text(FACTS, { n: 0, op: "H_CEDE", args: 5 }, { n: 1, op: "REBOOT", cold: true }, { ...LAST, more: 1 }),
  );
  assertEquals(recording.operations.map(({ action, answer }) => [action.kind, answer]), [
    ["unknown", {}],
    ["reboot", { cold: true }],
  ]);
});

Deno.test("parseRecording() says which line is no line of a recording", () => {
  assertEquals(refused("", 1), "it is empty");
  assertEquals(refused(" \n\n", 1), "it is empty");
  assertEquals(refused("hello\n", 1), "it is not JSON");
  assertEquals(refused(text([1, 2]), 1), "it is a list of 2, not an object");
  assertEquals(refused(text(null), 1), "it is null, not an object");
  assertEquals(refused(text(FACTS), 1), "nothing follows it");
  assertEquals(refused(text(LAST, LAST), 1), "it has no ram");
  assertEquals(refused(text(FACTS, "", `{"n": 0`, LAST), 3), "it is not JSON");
  assertEquals(
    refused(text(FACTS, { n: 0, op: "REBOOT" }), 2).split(",")[0],
    "it is the last and has no final_windows",
  );
  assertEquals(refused(text(FACTS, LAST, LAST), 2), "it has no n");
  const deep = `{"n": 0, "op": "REBOOT", "x": ${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  assertEquals(refused(text(FACTS, deep, LAST), 2), "it nests deeper than 8 levels");
});

Deno.test("parseRecording() says which fact makes a machine that there cannot be", () => {
  for (
    const [facts, state] of [
      [{ ram: "0x0" }, "ram is 0x0, less than 0x10000 bytes"],
      [{ ram: 4096 }, `ram is 4096, not a number from "0x0" to "0xffffffffffffffff"`],
      [{ ram: "0x1ffffffffffffffff" }, `ram is "0x1ffffffffffffffff", not a number from "0x0" to "0xffffffffffffffff"`],
      [{ phbs: {} }, "phbs is an object, not a list"],
      [{ phbs: [7] }, "phbs[0] is 7, not an object"],
      [{ phbs: new Array(257).fill(PHB) }, "phbs has 257 items, more than 256"],
      [{ phbs: [PHB, { ...PHB, index: 1e300 }] }, "phbs[1].index is 1e+300, not a whole number from 0 to 8388607"],
      [{ phbs: [{ ...PHB, ddw: "on" }] }, `phbs[0].ddw is "on", not true or false`],
      [{ phbs: [{ index: 0 }] }, "it has no phbs[0].ddw"],
      [{ vio: [{ unit: "0x100000000" }] }, `vio[0].unit is "0x100000000", not a number of 32 bits`],
      [{ dma_device: 1 }, "dma_device is 1, not true or false"],
    ] as const
  ) {
    assertEquals(refused(text({ ...FACTS, ...facts }, LAST), 1), state);
  }
});

Deno.test("parseRecording() says which field of an operation makes no sense", () => {
  const number = `a number from "0x0" to "0xffffffffffffffff"`;
  for (
    const [operation, state] of [
      [{ op: "REBOOT" }, "it has no n"],
      [{ n: -1, op: "REBOOT" }, "n is -1, not a whole number from 0 to 9007199254740991"],
      [{ n: "0", op: "REBOOT" }, `n is "0", not a whole number from 0 to 9007199254740991`],
      [{ n: 0 }, "it has no op"],
      [{ n: 0, op: ["REBOOT"] }, "op is a list of 1, not a text"],
      [{ n: 0, op: "H_PUT_TCE" }, "it has no args"],
      [{ n: 0, op: "H_PUT_TCE", args: "0x0" }, `args is "0x0", not a list`],
      [{ n: 0, op: "H_PUT_TCE", args: ["0x0", 5] }, `args[1] is 5, not ${number}`],
      [{ n: 0, op: "H_PUT_TCE", args: ["-0x1"] }, `args[0] is "-0x1", not ${number}`],
      [{ n: 0, op: "H_PUT_TCE", args: ["x".repeat(1e6)] }, `args[0] is "${"x".repeat(39)}…, not ${number}`],
      [{ n: 0, op: "H_GET_TCE", args: new Array(10).fill("0x0") }, "args has 10 items, more than 9"],
      [{ n: 0, op: "quiesce", args: [] }, "it has no nret"],
      [
        { n: 0, op: "quiesce", args: [4294967296], nret: 1 },
        "args[0] is 4294967296, not a whole number from 0 to 4294967295",
      ],
      [{ n: 0, op: "quiesce", args: [-1], nret: 1 }, "args[0] is -1, not a whole number from 0 to 4294967295"],
      [{ n: 0, op: "quiesce", args: [], nret: 4294967295 }, "nret is 4294967295, not a whole number from 0 to 1024"],
      [{ n: 0, op: "PEEK64", addr: "0x0", count: 1e9 }, "count is 1000000000, not a whole number from 0 to 65536"],
      [{ n: 0, op: "POKE64", addr: "0x0", data: [null] }, `data[0] is null, not ${number}`],
      [{ n: 0, op: "POKE64_SEQ", addr: "0x0", count: 1, start: "0x0" }, "it has no step"],
      [{ n: 0, op: "DMA_WRITE", bus: "0x0", len: 2, off: 4095 }, "len is 2, not a whole number from 0 to 1"],
      [{ n: 0, op: "DMA_WRITE", bus: "0x0", len: 0, off: 4097 }, "off is 4097, not a whole number from 0 to 4096"],
    ] as const
  ) {
    assertEquals(refused(text(FACTS, operation, LAST), 2), state);
  }
});
