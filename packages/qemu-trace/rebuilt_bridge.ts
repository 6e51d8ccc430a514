import { memory as coreMemory, type RawTceTable } from "@giommu/core/wasm/log";
import type { AddressSpace } from "@giommu/memory-api";
import type { ChangeOutcome } from "@giommu/notifiers";
import { SpaprPhb, type TceTable } from "@giommu/spapr-tce";
import { deliver, type ExtentBatch, tableFromRaw } from "@giommu/spapr-tce/raw";
import type { RebuiltTable } from "./rebuilt_table.ts";

/** How a bridge is shown; see `RebuiltMachine.bridge`. */
export interface BridgeOptions {
  /** Only these of its tables; all of them unless given. */
  readonly liobns?: readonly number[];
  /** System memory: where the guest's entries point to. */
  readonly memory?: AddressSpace;
}

/** What a bridge needs of its machine. */
export interface BridgeSource {
  tables(): readonly RebuiltTable[];
  handle(liobn: number): RawTceTable | undefined;
  closed(): void;
}

/** What a bridge did to show the windows that are there. */
export interface SyncedWindows {
  /** The tables that it shows anew, with all that they hold. */
  readonly added: readonly number[];
  /** What a listener refused, where one did. */
  readonly refused?: { readonly liobn: number; readonly error: unknown };
}

/** A bridge as its machine drives it. */
export interface BridgeMirror {
  readonly bridge: RebuiltBridge;
  /** The LIOBN of its window 0. */
  readonly owner: number;
  /** Tells the notifiers of a table of a change that was made; `undefined` if it is no table of this bridge. */
  change(liobn: number, unmaps: ExtentBatch, maps: ExtentBatch): ChangeOutcome | undefined;
  /** Shows the windows that are there now. */
  sync(): SyncedWindows;
}

/** Lets {@linkcode newBridge} make one. */
let make: (phb: SpaprPhb, close: () => void) => RebuiltBridge;

/**
 * A PCI host bridge whose windows are as a log says, and follow it.
 *
 * Made by `RebuiltMachine.bridge`. What the log changes reaches the notifiers of its windows as if the guest ran; windows that
 * come and go reach the listeners of its address space.
 *
 * @example A window that the guest makes appears in the address space
 * ```ts
 * import { RebuiltMachine } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * using machine = new RebuiltMachine();
 * using bridge = machine.bridge(0);
 * machine.feed(
 *   new TextEncoder().encode(
 *     "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x10000000, " +
 *       "start addr=0x1000000000, liobn=0x80000001\n",
 *   ),
 * );
 * assertEquals(bridge.windows.map(({ liobn }) => liobn), [0x8000_0001]);
 * assertEquals(bridge.space.sections.map(({ range }) => range.start).includes(0x10_0000_0000n), true);
 * ```
 */
export class RebuiltBridge implements Disposable {
  readonly #phb: SpaprPhb;
  readonly #close: () => void;

  static {
    make = (phb, close) => new RebuiltBridge(phb, close);
  }

  private constructor(phb: SpaprPhb, close: () => void) {
    this.#phb = phb;
    this.#close = close;
  }

  /** The bridge's index. */
  get index(): number {
    return this.#phb.index;
  }

  /** What devices on the bus see: attach a container to it. */
  get space(): AddressSpace {
    return this.#phb.space;
  }

  /** The tables of its windows, by ascending LIOBN. The bridge owns them. */
  get windows(): readonly TceTable[] {
    return this.#phb.windows;
  }

  /** Ends following the log, and removes the windows; twice is fine. */
  [Symbol.dispose](): void {
    this.#close();
    this.#phb[Symbol.dispose]();
  }
}

/** Shows the tables of a bridge, and of no other, that a machine has. */
export function newBridge(
  index: number,
  liobns: readonly number[] | undefined,
  memory: AddressSpace | undefined,
  source: BridgeSource,
): BridgeMirror {
  const phb = new SpaprPhb({ index, dmaWindow: false, ...(memory !== undefined && { memory }) });
  const owner = (0x8000_0000 | index << 8) >>> 0;
  const serials = new Map<TceTable, number>();
  const wanted = ({ liobn }: RebuiltTable): boolean =>
    ((liobn & ~0xff) >>> 0) === owner && (liobns?.includes(liobn) ?? true);

  function sync(): SyncedWindows {
    const added: number[] = [];
    const tables = source.tables().filter(wanted);
    for (const table of phb.windows) {
      if (tables.some(({ serial }) => serial === serials.get(table))) continue;
      try {
        phb.removeWindow(table);
      } catch (error) {
        return { added, refused: { liobn: table.liobn, error } };
      }
    }
    for (const { liobn, serial } of tables) {
      if (phb.table(liobn) !== undefined) continue;
      const raw = source.handle(liobn);
      if (raw === undefined) continue;
      const table = tableFromRaw(raw, coreMemory);
      try {
        phb.addTable(table);
      } catch (error) {
        table[Symbol.dispose]();
        return { added, refused: { liobn, error } };
      }
      serials.set(table, serial);
      added.push(liobn);
    }
    return { added };
  }

  sync();
  return {
    bridge: make(phb, source.closed),
    owner,
    sync,
    change(liobn, unmaps, maps) {
      const table = phb.table(liobn);
      return table && deliver(table, unmaps, maps);
    },
  };
}
