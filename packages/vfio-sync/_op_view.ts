import type { IommuPerm } from "@giommu/notifiers";
import { RecordView } from "@giommu/core/wasm";
import { memory } from "@giommu/core/wasm/container";

const BYTES = 48;

/** What a record asks for. */
export const OpKind = { MAP: 1, UNMAP: 2, QUIESCE: 3 } as const;

/**
 * A cursor over the calls (or maps) that the core left in its memory; the layout is that of `OpRecord` in the
 * WebAssembly façade.
 */
export class OpView extends RecordView {
  constructor() {
    super(memory, BYTES);
  }

  /** The first bus address. */
  get start(): bigint {
    return this.view.getBigUint64(this.place, true);
  }

  /** The last bus address. */
  get last(): bigint {
    return this.view.getBigUint64(this.place + 8, true);
  }

  /** Of a MAP: the guest-physical address of the first byte. */
  get target(): bigint {
    return this.view.getBigUint64(this.place + 16, true);
  }

  /** Of an UNMAP: how many bytes are mapped in it. */
  get bytes(): bigint {
    // 2^64 does not fit, and there is never nothing to unmap.
    return this.view.getBigUint64(this.place + 24, true) || 1n << 64n;
  }

  /** Of a map: where the guest's entries begin, modulo their page size. */
  get phase(): bigint {
    return this.view.getBigUint64(this.place + 24, true);
  }

  /** Of a map: the page size of the guest's entries, as a power of two. */
  get pageShift(): number {
    return this.view.getUint32(this.place + 44, true);
  }

  /** One of {@linkcode OpKind}. */
  get kind(): number {
    return this.view.getUint32(this.place + 32, true);
  }

  /** The permission. */
  get perm(): IommuPerm {
    return this.view.getUint32(this.place + 36, true) as IommuPerm;
  }

  /** The number of the memory behind the target. */
  get backing(): number {
    return this.view.getUint32(this.place + 40, true);
  }
}
