import { checkInteger, IommuError } from "@giommu/core";
import { put } from "@giommu/core/wasm";
import { memory, RawMigrationReader } from "@giommu/core/wasm/spapr";
import { stateRefused } from "./_machine_state.ts";
import { callCore } from "./_trap.ts";
import { machineState, type SpaprMachine } from "./spapr_machine.ts";

/** Bytes of a section per piece. */
const PIECE = 1 << 16;

/** One table's section of a migration stream. */
export interface QemuSection {
  /** The table. */
  readonly liobn: number;
  /** The section's number in the stream. */
  readonly id: number;
  /** Its bytes, in pieces of 64 KiB at most: a section holds all entries of the table, 8 bytes each. To be read before the machine changes. */
  readonly pieces: Iterable<Uint8Array>;
}

/** How sections are written. */
export interface QemuSectionsOptions {
  /** The number of a table's section in the stream; by ascending LIOBN from 0 unless given. */
  readonly id?: (liobn: number) => number;
}

/**
 * Writes the tables of a machine as QEMU 10.0 does: one `spapr_iommu` section per table, with `spapr_iommu_ex` where a
 * window does not lie at 0 in pages of 4 KiB, byte for byte.
 *
 * Places for windows that hold none have a section as well, and VIO devices say there whether they bypass their table
 * (QEMU, hw/ppc/spapr_iommu.c, `vmstate_spapr_tce_table`).
 *
 * @param machine The machine.
 * @param options The sections' numbers.
 * @returns A section per LIOBN that the machine can have, ascending.
 * @throws {RangeError} If a number does not fit 32 bits.
 * @throws {IommuError} `"disposed"`; `"core-trapped"`.
 *
 * @example
 * ```ts
 * import { qemuSections, readQemuSections, SpaprMachine } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * const init = { ram: 0x10000n, phbs: [{ index: 0, dmaWinSize: 0x10000n }] };
 * using machine = new SpaprMachine(init);
 * machine.putTce(0x8000_0000, 0x3000n, 0x5003n);
 * const bytes = [...qemuSections(machine)].flatMap(({ pieces }) => [...pieces]);
 *
 * using other = new SpaprMachine(init);
 * readQemuSections(other, bytes);
 * assertEquals(other.getTce(0x8000_0000, 0x3000n).value, 0x5003n);
 * ```
 */
export function* qemuSections(machine: SpaprMachine, options: QemuSectionsOptions = {}): Generator<QemuSection, void> {
  const state = machineState(machine);
  for (const [at, liobn] of state.live("write sections of").sectionLiobns().entries()) {
    const id = checkInteger("id", options.id?.(liobn) ?? at);
    yield { liobn, id, pieces: { [Symbol.iterator]: () => pieces(machine, liobn, id) } };
  }
}

function* pieces(machine: SpaprMachine, liobn: number, id: number): Generator<Uint8Array, void> {
  const writer = machineState(machine).live("write sections of").section(liobn, id);
  if (writer === undefined) return;
  try {
    for (;;) {
      const piece = callCore(() => writer.next(PIECE), () => `write sections of ${machine}`);
      if (piece === undefined) return;
      yield piece;
    }
  } finally {
    writer.free();
  }
}

/**
 * Brings a machine into the state that a migration stream of QEMU holds: entries, windows, default flags, bypass.
 *
 * Containers on its buses are brought in step, all or nothing; QEMU tells nobody at this point. The stream may hold
 * anything else beside the sections of tables, and may be those sections alone.
 *
 * @param machine The machine, with the same bridges and devices.
 * @param stream The bytes, in pieces of any size.
 * @throws {IommuError} `"bad-input"` if a section is damaged or cut; `"snapshot-mismatch"` if the stream has a table that
 * the machine cannot have, or lacks one; `"entry-limit"`; whatever a container refuses with. The machine is as before.
 * `"unmap-failed"` if a container could not let go of what was mapped: the state is the stream's, the container has failed.
 * `"change-in-progress"` inside a transaction, or from inside a listener or a notifier; `"disposed"`; `"core-trapped"`.
 *
 * @example
 * ```ts
 * import { readQemuSections, SpaprMachine } from "@giommu/spapr-tce";
 * import { IommuError } from "@giommu/core";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * using machine = new SpaprMachine({ ram: 0x10000n, phbs: [{ index: 0 }] });
 * const error = assertThrows(() => readQemuSections(machine, [new Uint8Array(100)]), IommuError);
 * assertEquals(error.code, "snapshot-mismatch"); // no section at all
 * ```
 */
export function readQemuSections(machine: SpaprMachine, stream: Iterable<Uint8Array>): void {
  const state = machineState(machine);
  state.live("read sections into");
  const what = `read sections into ${machine}`;
  const reader = new RawMigrationReader();
  let isWhole = false;
  try {
    for (const bytes of stream) feed(reader, bytes, what);
    callCore(() => reader.feed(0, true), () => what);
    isWhole = true;
    checkWhole(reader, what);
    const { error } = state.act("read sections into", (raw) => {
      try {
        raw.loadStream(reader);
      } catch (error) {
        throw stateRefused(what, error);
      }
    });
    if (error !== undefined) throw error;
  } finally {
    if (isWhole) reader.free();
  }
}

function feed(reader: RawMigrationReader, bytes: Uint8Array, what: string): void {
  for (let rest = bytes; rest.length > 0;) {
    const length = put(memory, reader, rest);
    callCore(() => reader.feed(length, false), () => what);
    rest = rest.subarray(length);
  }
}

function checkWhole(reader: RawMigrationReader, what: string): void {
  const [cut] = reader.cut();
  if (cut !== undefined) {
    throw new IommuError("bad-input", `Cannot ${what}: the stream ends in the middle of table 0x${cut.toString(16)}`);
  }
  const unsound = reader.counts()[1] ?? 0n;
  if (unsound > 0n) {
    throw new IommuError("bad-input", `Cannot ${what}: ${unsound} sections of tables are damaged`);
  }
}
