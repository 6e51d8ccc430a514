import { type CoreMemory, RecordView } from "./record_view.ts";

const BYTES = 24;

/**
 * A cursor over extents that the core left in its memory: 24 bytes each, read in place, nothing allocated per extent.
 *
 * The layout is that of `ExtentRecord` in the WebAssembly façade. A batch is valid until the next call into the object
 * that made it.
 */
export class ExtentView extends RecordView {
  /**
   * Creates a cursor that stands on nothing yet.
   *
   * @param memory The memory of the module that leaves the extents.
   */
  constructor(memory: CoreMemory) {
    super(memory, BYTES);
  }

  /** Where the extent begins. */
  get iova(): bigint {
    return this.view.getBigUint64(this.place, true);
  }

  /** Where its first page points to. */
  get target(): bigint {
    return this.view.getBigUint64(this.place + 8, true);
  }

  /** How many pages it has. */
  get pages(): number {
    return this.view.getUint32(this.place + 16, true);
  }

  /** What a device may do: bit 0 read, bit 1 write. */
  get perm(): 0 | 1 | 2 | 3 {
    return (this.view.getUint32(this.place + 20, true) & 3) as 0 | 1 | 2 | 3;
  }

  /** The page size of its entries, as a power of two. */
  get pageShift(): number {
    return (this.view.getUint32(this.place + 20, true) >> 8) & 0xff;
  }

  /** The last address of the extent, included. */
  get last(): bigint {
    return this.iova + (BigInt(this.pages) << BigInt(this.pageShift)) - 1n;
  }
}
