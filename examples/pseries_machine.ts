// deno run examples/pseries_machine.ts
//
// A pseries machine with one PCI device, and a toy guest that drives it as Linux does: it asks what windows there can be,
// creates one, maps buffers with a list in its memory, lets the device work, and gives everything back. The guest has
// nothing but its memory and its registers. Beside it, a VFIO container keeps a host in step.
import { hex } from "@giommu/core";
import { readDma, writeDma } from "@giommu/memory-api";
import { HcallOpcode, RTAS_TOKENS, type RtasName, SpaprMachine } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";

using machine = new SpaprMachine({ ram: 16n << 20n, phbs: [{ index: 0, dma64WinAddr: 1n << 40n }] });
const phb = machine.phb(0);
if (phb === undefined) throw new Error("the machine was made with a bridge");
const host = new SimulatedHost({ rules: "type1" });
using container = new VfioContainer({ host });
container.attach(phb.space);

// --- the guest ------------------------------------------------------------------------------------------------------
const BLOCK = 0x1000n;
const LIST = 0x2000n;

function hcall(opcode: bigint, ...args: bigint[]): bigint {
  const registers = new BigUint64Array(10);
  registers.set([opcode, ...args]);
  if (!machine.hcallRegisters(registers)) throw new Error("H_FUNCTION");
  if (registers[0] !== 0n) throw new Error(`the call failed: ${BigInt.asIntN(64, registers[0] ?? 0n)}`);
  return registers[1] ?? 0n;
}

function store(gpa: bigint, words: readonly bigint[], bytes: 4 | 8): void {
  const view = new DataView(new ArrayBuffer(words.length * bytes));
  words.forEach((word, at) => bytes === 8 ? view.setBigUint64(8 * at, word) : view.setUint32(4 * at, Number(word)));
  machine.ram.write(gpa, new Uint8Array(view.buffer));
}

function rtas(name: RtasName, args: readonly number[], nret: number): number[] {
  store(BLOCK, [RTAS_TOKENS[name], args.length, nret, ...args].map(BigInt), 4);
  hcall(HcallOpcode.RTAS, BLOCK);
  const answers = new DataView(new ArrayBuffer(4 * nret));
  machine.ram.read(BLOCK + BigInt(12 + 4 * args.length), new Uint8Array(answers.buffer));
  return Array.from({ length: nret }, (_, at) => answers.getUint32(4 * at));
}

const [, free, , mask = 0] = rtas("ibm,query-pe-dma-window", [0, ...phb.buidCells], 5);
console.log(`The guest asks: ${free} window is free, page sizes ${hex(mask)}`);

const [, liobn = 0, high = 0, low = 0] = rtas("ibm,create-pe-dma-window", [0, ...phb.buidCells, 16, 30], 4);
const bus = BigInt(high) << 32n | BigInt(low);
console.log(`It creates one of 1 GiB in pages of 64 KiB: LIOBN ${hex(liobn)} at ${hex(bus)}`);

const buffers = [0x20_0000n, 0x21_0000n, 0x40_0000n];
store(LIST, buffers.map((gpa) => gpa | 3n), 8);
hcall(HcallOpcode.PUT_TCE_INDIRECT, BigInt(liobn), bus, LIST, BigInt(buffers.length));
console.log(`It maps three buffers, two of which adjoin; the host holds:`);
for (const { iova, gpa } of host.mappings()) console.log(`  ${hex(iova.start)}..${hex(iova.last)} -> ${hex(gpa)}`);

// --- the device -----------------------------------------------------------------------------------------------------
writeDma(phb.space, bus + 0x2_0010n, new TextEncoder().encode("written by the device"));
const seen = new Uint8Array(21);
machine.ram.read(0x40_0010n, seen);
console.log(`\nThe device writes to the third page; the guest finds: "${new TextDecoder().decode(seen)}"`);

// --- the guest again ------------------------------------------------------------------------------------------------
hcall(HcallOpcode.STUFF_TCE, BigInt(liobn), bus, 0n, BigInt(buffers.length));
const { firstFault } = readDma(phb.space, bus, new Uint8Array(4));
console.log(
  `\nUnmapped again: the device's next read ends with "${firstFault?.reason}", the host holds ${host.size} maps`,
);
const [status] = rtas("ibm,remove-pe-dma-window", [liobn], 1);
console.log(`The window is removed: status ${status}; in step: ${verify(container).agrees}`);
