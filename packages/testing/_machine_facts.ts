import { hex } from "@giommu/core";
import type { MachinePhb, SpaprMachine } from "@giommu/spapr-tce";
import type { Answer } from "./_answer.ts";

/** Facts that only say how a recording was made, and what the machine was built from. */
export const ABOUT: ReadonlySet<string> = new Set([
  "scenario",
  "seed",
  "qemu",
  "machine",
  "accel",
  "ram",
  "options",
  "dma_device",
]);

/** The windows that are there now, as recordings tell them. */
export function windowsOf(machine: SpaprMachine): readonly unknown[] {
  return machine.tables.map(({ liobn, busOffset, entries, pageShift }) => ({
    liobn: hex(liobn),
    bus: hex(busOffset),
    size: hex(BigInt(entries) << BigInt(pageShift)),
  }));
}

/**
 * What a machine tells of itself before the first operation.
 *
 * @param machine The machine.
 * @param recorded The recorded facts. What kind of VIO device a unit is names its node, and only the recording knows.
 */
export function factsOf(machine: SpaprMachine, recorded: Readonly<Record<string, unknown>>): Answer {
  return new Map<string, unknown>([
    ["windows", windowsOf(machine)],
    ["phbs", machine.phbs.map(phbFacts)],
    ["vio", machine.vios.map(({ unit, liobn }) => ({ unit: hex(unit), liobn: hex(liobn) }))],
    ["ddw_in_fdt", machine.phbs.some(({ deviceTree }) => deviceTree["ibm,ddw-applicable"] !== undefined)],
    ["fdt_dma_windows", nodes(machine, recorded["fdt_dma_windows"])],
  ]);
}

function phbFacts({ index, buid, liobns, options }: MachinePhb): unknown {
  return {
    index,
    buid: hex(buid),
    ddw: options.ddw,
    page_size_mask: hex(options.pgsz),
    dma_win_addr: hex(options.dmaWinAddr),
    dma_win_size: hex(options.dmaWinSize),
    dma64_win_addr: hex(options.dma64WinAddr),
    liobns: liobns.map(hex),
  };
}

/** The windows that the device tree tells, by node. */
function nodes(machine: SpaprMachine, recorded: unknown): unknown {
  const names = typeof recorded === "object" && recorded !== null ? Object.keys(recorded) : [];
  const found: [string, unknown][] = [];
  for (const { buid, deviceTree } of machine.phbs) {
    found.push([`pci@${buid.toString(16)}`, dmaWindow(deviceTree["ibm,dma-window"])]);
  }
  for (const { unit, deviceTree } of machine.vios) {
    const address = `@${unit.toString(16)}`;
    const node = names.find((name) => name.startsWith("vdevice/") && name.endsWith(address));
    found.push([node ?? `vdevice/${address}`, dmaWindow(deviceTree["ibm,my-dma-window"])]);
  }
  return Object.fromEntries(found);
}

/** A window's property: LIOBN, bus address in two cells, size in two. */
function dmaWindow(property: Uint8Array | undefined): unknown {
  if (property?.length !== 20) return null;
  const view = new DataView(property.buffer, property.byteOffset, property.length);
  return { liobn: hex(view.getUint32(0)), bus: hex(view.getBigUint64(4)), size: hex(view.getBigUint64(12)) };
}
