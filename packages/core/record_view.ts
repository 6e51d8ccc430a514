import { memory } from "./_wasm/giommu_wasm.js";

/** A cursor over records of one size that the core left in its memory, read in place. */
export class RecordView {
  readonly #bytes: number;
  /** The core's memory; valid once {@linkcode at} was called. */
  protected view: DataView<ArrayBuffer> = new DataView(memory.buffer as ArrayBuffer);
  /** Where the record that it stands on begins in it. */
  protected place = 0;

  /**
   * Creates a cursor that stands on nothing yet.
   *
   * @param bytes The size of one record.
   */
  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /**
   * Moves to one record of a batch.
   *
   * @param pointer Where the batch begins in the core's memory.
   * @param index Which record, from 0.
   * @returns This cursor.
   */
  at(pointer: number, index: number): this {
    // The memory may have grown since the last batch, which detaches every older view.
    if (this.view.buffer !== memory.buffer) this.view = new DataView(memory.buffer as ArrayBuffer);
    this.place = pointer + index * this.#bytes;
    return this;
  }
}
