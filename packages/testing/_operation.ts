import { HcallOpcode, RTAS_TOKENS } from "@giommu/spapr-tce";
import type { RecordedLine } from "./_recorded_line.ts";
import type { RecordedAction, RecordedOperation } from "./recorded_operation.ts";

/** r4 to r12. */
const MAX_HCALL_ARGS = 9;
/** Words that an RTAS block has room for, of each kind: many more than any call takes or answers. */
const MAX_RTAS_WORDS = 1024;
/** Words of one poke or peek: 512 KiB, which is 128 lists of H_PUT_TCE_INDIRECT. */
const MAX_MEMORY_WORDS = 1 << 16;
/** Bytes of the DMA device's buffer. */
const BUFFER_SIZE = 4096;

const HCALLS: Readonly<Record<string, bigint>> = {
  H_GET_TCE: HcallOpcode.GET_TCE,
  H_PUT_TCE: HcallOpcode.PUT_TCE,
  H_STUFF_TCE: HcallOpcode.STUFF_TCE,
  H_PUT_TCE_INDIRECT: HcallOpcode.PUT_TCE_INDIRECT,
  H_RTAS: HcallOpcode.RTAS,
};

/** The recordings' call with a token that RTAS does not have. */
const TOKENS: Readonly<Record<string, number>> = { ...RTAS_TOKENS, "unknown-token": 0x20ff };

/** What an operation does, and which fields of its line say so. */
interface Read {
  readonly action: RecordedAction;
  readonly told: readonly string[];
}

/** Reads the line of an operation. */
export function readOperation(line: RecordedLine): RecordedOperation {
  const n = line.whole("n");
  const op = line.text("op");
  const { action, told } = readAction(op, line);
  const inputs = new Set(["n", "op", ...told]);
  const answer = Object.fromEntries(Object.entries(line.fields).filter(([name]) => !inputs.has(name)));
  return { n, op, action, answer };
}

function readAction(op: string, line: RecordedLine): Read {
  const opcode = Object.hasOwn(HCALLS, op) ? HCALLS[op] : undefined;
  if (opcode !== undefined) {
    return { action: { kind: "hcall", opcode, args: line.u64s("args", MAX_HCALL_ARGS) }, told: ["args"] };
  }
  const token = Object.hasOwn(TOKENS, op) ? TOKENS[op] : undefined;
  if (token !== undefined) {
    const args = line.words("args", MAX_RTAS_WORDS);
    return { action: { kind: "rtas", token, args, nret: line.whole("nret", MAX_RTAS_WORDS) }, told: ["args", "nret"] };
  }
  switch (op) {
    case "H_REGISTER_LOGICAL_LAN":
    case "H_FREE_LOGICAL_LAN": {
      const registers = op === "H_REGISTER_LOGICAL_LAN";
      return { action: { kind: "lan", registers, args: line.u64s("args", MAX_HCALL_ARGS) }, told: ["args"] };
    }
    case "POKE64": {
      const words = line.u64s("data", MAX_MEMORY_WORDS);
      return { action: { kind: "poke", address: line.u64("addr"), words }, told: ["addr", "data"] };
    }
    case "POKE64_SEQ": {
      const count = line.whole("count", MAX_MEMORY_WORDS);
      const [start, step] = [line.u64("start"), line.u64("step")];
      return {
        action: { kind: "sequence", address: line.u64("addr"), count, start, step },
        told: ["addr", "count", "start", "step"],
      };
    }
    case "PEEK64": {
      const count = line.whole("count", MAX_MEMORY_WORDS);
      return { action: { kind: "peek", address: line.u64("addr"), count }, told: ["addr", "count"] };
    }
    case "DMA_READ":
    case "DMA_WRITE": {
      const offset = line.whole("off", BUFFER_SIZE);
      const length = line.whole("len", BUFFER_SIZE - offset);
      const reads = op === "DMA_READ";
      return { action: { kind: "dma", reads, bus: line.u64("bus"), length, offset }, told: ["bus", "len", "off"] };
    }
    case "REBOOT":
      return { action: { kind: "reboot" }, told: [] };
    default:
      // Whatever else the line says is of no interest: that it is there at all is the failure.
      return { action: { kind: "unknown" }, told: Object.keys(line.fields) };
  }
}
