// deno run --allow-run=deno examples/move_machine.ts
//
// A running machine moves to another process. There a device is plugged in already when the state arrives; QEMU tells
// nobody of the tables that it loads, and such a device would read the wrong memory. Here restoring brings it in step.
import { hex } from "@giommu/core";
import { readDma } from "@giommu/memory-api";
import { ArrayGuestMemory } from "@giommu/memory-api";
import { SpaprMachine, type SpaprMachineInit } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";

const RAM = 1 << 20;
const LIOBN = 0x8000_0001;
const BUS = 1n << 40n;
const MACHINE: SpaprMachineInit = { phbs: [{ index: 0, dma64WinAddr: BUS }] };

if (import.meta.main) await (Deno.args[0] === "incoming" ? incoming() : outgoing());

async function outgoing(): Promise<void> {
  const ram = new ArrayGuestMemory(RAM);
  using machine = new SpaprMachine({ ram, ...MACHINE });
  const { buidCells } = machine.phbs[0] ?? { buidCells: [0, 0] };
  machine.rtas("ibm,create-pe-dma-window", [0, ...buidCells, 12, 40], 4);
  ram.write(0x5_0000n, new TextEncoder().encode("from the first process"));
  machine.putTce(LIOBN, BUS + 0x7000n, 0x5_0003n);
  machine.putTce(LIOBN, BUS + (1n << 40n) - 0x1000n, 0x6_0001n);

  const state = machine.save();
  console.log(`A window of 2^28 entries, two of them mapped: ${state.length} bytes of state; RAM goes along.`);
  const child = new Deno.Command("deno", {
    args: ["run", "--quiet", "examples/move_machine.ts", "incoming"],
    stdin: "piped",
  }).spawn();
  await new Blob([ram.bytes as Uint8Array<ArrayBuffer>, state as Uint8Array<ArrayBuffer>]).stream().pipeTo(child.stdin);
  Deno.exit((await child.status).code);
}

async function incoming(): Promise<void> {
  const arrived = new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer());
  using machine = new SpaprMachine({ ram: new ArrayGuestMemory(arrived.subarray(0, RAM)), ...MACHINE });
  const { space } = machine.phbs[0] ?? {};
  if (space === undefined) throw new Error("the machine was made with a bridge");
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(space);
  console.log(`\nThe other process: a machine as after a reset, a device attached, ${host.size} host maps.`);

  machine.restore(arrived.subarray(RAM));
  console.log("Restored. The host holds now:");
  for (const { iova, gpa } of host.mappings()) console.log(`  ${hex(iova.start)}..${hex(iova.last)} -> ${hex(gpa)}`);

  const bytes = new Uint8Array(22);
  readDma(space, BUS + 0x7000n, bytes);
  console.log(`The device reads: "${new TextDecoder().decode(bytes)}"`);
  machine.putTce(LIOBN, BUS + 0x7000n, 0x8_0003n);
  console.log(`The guest goes on, and changes an entry in place; in step: ${verify(container).agrees}`);
}
