// Every kind of change that makes calls on a host: how the machine is before it, and the change itself.
import { IommuError } from "@giommu/core";
import { transaction } from "@giommu/memory-api";
import type { HcallResult, TceTable } from "@giommu/spapr-tce";
import { Hcall } from "@giommu/spapr-tce";
import { DIMM_AT, ENTRIES, Machine, PAGE, type Refusal } from "./machine.ts";

/** A kind of change. */
export interface Change {
  readonly name: string;
  /** Whether it only takes away on the host. */
  readonly isRemoval?: boolean;
  /** Whether it needs a bus that shows RAM without an IOMMU. */
  readonly needsRam?: boolean;
  /** How the machine is before it; the devices are attached afterwards, unless `attaches`. */
  readonly before?: (machine: Machine) => void;
  /** Whether the change itself attaches the first device; the second one is there. */
  readonly attaches?: boolean;
  /** The change. Returns why it was refused. */
  readonly act: (machine: Machine) => Refusal;
}

const RAM_AT = 0x20_0000n;
const tce = (frame: bigint, perm = 3n): bigint => frame * PAGE | perm;
const ioba = (table: TceTable, page: number): bigint => table.busOffset + BigInt(page) * PAGE;

/** A guest's call: what it answers must fit what it did. */
function call({ ret, error }: HcallResult): Refusal {
  if (ret === Hcall.SUCCESS) {
    if (error !== undefined) throw new Error(`the guest is told of success, and there is an error: ${error.message}`);
    return undefined;
  }
  if (ret !== Hcall.NOT_ENOUGH_RESOURCES && ret !== Hcall.HARDWARE) throw new Error(`the guest got ${ret}`);
  if (error === undefined) throw new Error(`the guest got ${ret} for no reason`);
  return error;
}

/** A change of the machine: whatever it throws is why. */
function attempt(act: () => void): Refusal {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof IommuError) return error;
    throw error;
  }
}

/** Eight adjoining pages by one call, two scattered ones, and one that points to the DIMM. */
function fill({ low }: Machine): void {
  for (let page = 0; page < 8; page++) low.putTce(ioba(low, page), tce(0x10n + BigInt(page)));
  low.putTce(ioba(low, 10), tce(0x40n, 1n));
  low.putTce(ioba(low, 12), tce(0x50n, 2n));
  low.putTce(ioba(low, 14), tce(DIMM_AT / PAGE));
}

function fillHigh({ high }: Machine): void {
  high.stuffTce(ioba(high, 2), tce(0x60n), 3n);
  high.putTce(ioba(high, 9), tce(0x70n));
}

function indirect({ low, lists }: Machine, first: number, values: readonly bigint[]): Refusal {
  const view = new DataView(lists.bytes.buffer);
  for (const [i, value] of values.entries()) view.setBigUint64(0x1000 + i * 8, value);
  return call(low.putTceIndirect(ioba(low, first), 0x1000n, BigInt(values.length), lists));
}

/** All of them. */
export const CHANGES: readonly Change[] = [
  {
    name: "attach",
    attaches: true,
    before: fill,
    act: ({ container, bus }) => attempt(() => void container.attach(bus)),
  },
  {
    name: "attach to two windows",
    attaches: true,
    before: (machine) => {
      fill(machine);
      fillHigh(machine);
      machine.busRoot.addSubregion(machine.init.highAt, machine.high.region);
    },
    act: ({ container, bus }) => attempt(() => void container.attach(bus)),
  },
  {
    name: "attach in steps",
    attaches: true,
    before: fill,
    act: ({ container, bus }) =>
      attempt(() => {
        using steps = container.attachSteps(bus);
        while (!steps.step(1).done);
      }),
  },
  { name: "detach", isRemoval: true, before: fill, act: ({ container }) => attempt(() => container.detach()) },
  { name: "put of a new entry", before: fill, act: ({ low }) => call(low.putTce(ioba(low, 9), tce(0x33n))) },
  {
    name: "put that clears",
    isRemoval: true,
    before: fill,
    act: ({ low }) => call(low.putTce(ioba(low, 10), 0n)),
  },
  {
    name: "put that clears a page in the middle of others",
    isRemoval: true,
    before: fill,
    act: ({ low }) => call(low.putTce(ioba(low, 4), 0n)),
  },
  { name: "put in place", before: fill, act: ({ low }) => call(low.putTce(ioba(low, 4), tce(0x99n))) },
  {
    name: "put in place of a permission",
    before: fill,
    act: ({ low }) => call(low.putTce(ioba(low, 0), tce(0x10n, 1n))),
  },
  {
    name: "put in place that points to no RAM",
    isRemoval: true,
    before: fill,
    act: ({ low }) => call(low.putTce(ioba(low, 4), tce(0x99_9999n))),
  },
  {
    name: "stuff of new and old entries",
    before: fill,
    act: ({ low }) => call(low.stuffTce(ioba(low, 6), tce(0x80n), 6n)),
  },
  {
    name: "stuff that clears across gaps",
    isRemoval: true,
    before: fill,
    act: ({ low }) => call(low.stuffTce(0n, 0n, 16n)),
  },
  {
    name: "stuff that clears a part of what adjoins",
    isRemoval: true,
    before: fill,
    act: ({ low }) => call(low.stuffTce(ioba(low, 2), 0n, 3n)),
  },
  {
    name: "indirect that maps, unmaps and changes",
    before: fill,
    act: (machine) =>
      indirect(machine, 3, [
        tce(0x20n),
        0n,
        tce(0x15n),
        tce(0x22n),
        0n,
        tce(0x23n),
        tce(0x24n),
        0n,
        0n,
        tce(0x25n, 1n),
      ]),
  },
  {
    name: "a window that appears",
    before: (machine) => {
      fill(machine);
      fillHigh(machine);
    },
    act: ({ busRoot, high, init }) => attempt(() => busRoot.addSubregion(init.highAt, high.region)),
  },
  {
    name: "a window that disappears",
    isRemoval: true,
    before: (machine) => {
      fill(machine);
      fillHigh(machine);
      machine.busRoot.addSubregion(machine.init.highAt, machine.high.region);
    },
    act: ({ busRoot, high }) => attempt(() => busRoot.removeSubregion(high.region)),
  },
  {
    name: "a window that takes another one's place",
    before: (machine) => {
      fill(machine);
      machine.high.stuffTce(ioba(machine.high, 1), tce(0x61n), 2n);
    },
    act: ({ busRoot, low, high }) =>
      attempt(() =>
        transaction(() => {
          busRoot.removeSubregion(low.region);
          busRoot.addSubregion(0n, high.region);
        })
      ),
  },
  {
    name: "RAM that appears on the bus",
    needsRam: true,
    before: fill,
    act: ({ busRoot, ram }) => attempt(() => busRoot.addSubregion(RAM_AT, ram)),
  },
  {
    name: "RAM that disappears from the bus",
    needsRam: true,
    isRemoval: true,
    before: (machine) => {
      fill(machine);
      machine.busRoot.addSubregion(RAM_AT, machine.ram);
    },
    act: ({ busRoot, ram }) => attempt(() => busRoot.removeSubregion(ram)),
  },
  {
    name: "something laid over a part of a window",
    needsRam: true,
    before: fill,
    act: ({ busRoot, over }) => attempt(() => busRoot.addSubregion(3n * PAGE, over, { priority: 1 })),
  },
  {
    name: "memory that appears under live entries",
    before: fill,
    act: ({ memoryRoot, dimm }) => attempt(() => memoryRoot.addSubregion(DIMM_AT, dimm)),
  },
  {
    name: "memory that disappears under live entries",
    isRemoval: true,
    before: (machine) => {
      fill(machine);
      machine.low.putTce(ioba(machine.low, 13), tce(DIMM_AT / PAGE + 2n));
      machine.memoryRoot.addSubregion(DIMM_AT, machine.dimm);
    },
    act: ({ memoryRoot, dimm }) => attempt(() => memoryRoot.removeSubregion(dimm)),
  },
];

/** Brings a machine into the state before a change. */
export function prepare(change: Change, machine: Machine): void {
  change.before?.(machine);
  if (change.attaches === true) machine.second.attach(machine.bus);
  else machine.attach();
}

/** How many entries the tables have; for tests that look at them. */
export { ENTRIES };
