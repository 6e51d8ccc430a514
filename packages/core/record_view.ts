/** The memory of a module of the core, which is made when it is first asked for. */
export type CoreMemory = () => WebAssembly.Memory;

/** A cursor over records of one size that a module of the core left in its memory, read in place. */
export class RecordView {
  readonly #memory: CoreMemory;
  readonly #bytes: number;
  #made: WebAssembly.Memory | undefined;
  /** The module's memory; valid once {@linkcode at} was called. */
  protected view: DataView<ArrayBuffer> = NOTHING;
  /** Where the record that it stands on begins in it. */
  protected place = 0;

  /**
   * Creates a cursor that stands on nothing yet.
   *
   * @param memory The memory of the module that leaves the records.
   * @param bytes The size of one record.
   */
  constructor(memory: CoreMemory, bytes: number) {
    this.#memory = memory;
    this.#bytes = bytes;
  }

  /**
   * Moves to one record of a batch.
   *
   * @param pointer Where the batch begins in the module's memory.
   * @param index Which record, from 0.
   * @returns This cursor.
   */
  at(pointer: number, index: number): this {
    const { buffer } = this.#made ??= this.#memory();
    // The memory may have grown since the last batch, which detaches every older view.
    if (this.view.buffer !== buffer) this.view = new DataView(buffer as ArrayBuffer);
    this.place = pointer + index * this.#bytes;
    return this;
  }
}

const NOTHING = new DataView(new ArrayBuffer(0));
