import { type MachinePhbInit, RtasStatus } from "@giommu/spapr-tce";
import { ModelWindow } from "./model_window.ts";

/** The page shifts that an answer to a query has a bit for, by ascending bit (PAPR, DDW). */
const QUERY_SHIFTS = [12, 16, 24, 25, 26, 27, 28, 34, 21];

/** A bridge of the model: two places for windows, or one without dynamic windows. */
export class ModelPhb {
  readonly options: Required<MachinePhbInit>;
  readonly slots: (ModelWindow | undefined)[];

  constructor(options: Required<MachinePhbInit>, slots?: readonly (ModelWindow | undefined)[]) {
    this.options = options;
    this.slots = (slots ?? [undefined, undefined].slice(0, options.ddw ? 2 : 1)).map((window) =>
      window && new ModelWindow(window.geometry, window.tces)
    );
    if (slots === undefined) this.reset();
  }

  get buid(): bigint {
    return 0x800_0000_2000_0000n + BigInt(this.options.index);
  }

  liobn(slot: number): number {
    return 0x8000_0000 + this.options.index * 0x100 + slot;
  }

  /** What query answers beside the status. The largest window has 2^37 pages, or 2^31 where 32 bits must say it. */
  query(nret: number): number[] {
    const free = this.slots.filter((window) => window === undefined).length;
    const mask = QUERY_SHIFTS.reduce((sum, shift, bit) => this.#allows(shift) ? sum + 2 ** bit : sum, 0);
    return nret === 6 ? [free, 0x20, 0, mask, 0] : [free, 0x8000_0000, mask, 0];
  }

  /** What create answers beside the status; or the status, where that is not 0. */
  create(pageShift: number, windowShift: number): number[] | RtasStatus {
    if (!this.#allows(pageShift) || windowShift < pageShift || windowShift > 63) return RtasStatus.PARAMETER_ERROR;
    const slot = this.slots.indexOf(undefined);
    const entries = 2 ** (windowShift - pageShift);
    // The count of its pages has 32 bits in QEMU.
    if (slot < 0 || entries > 0xffff_ffff) return RtasStatus.HARDWARE_ERROR;
    // How many windows there are decides where it lies, not which.
    const alone = this.slots.every((window) => window === undefined);
    const busOffset = alone ? this.options.dmaWinAddr : this.options.dma64WinAddr;
    if (busOffset + (1n << BigInt(windowShift)) > 1n << 64n) return RtasStatus.HARDWARE_ERROR;
    const liobn = this.liobn(slot);
    this.slots[slot] = new ModelWindow({ liobn, busOffset, pageShift, entries });
    return [liobn, Number(busOffset >> 32n), Number(busOffset & 0xffff_ffffn)];
  }

  remove(liobn: number): RtasStatus {
    const slot = liobn - this.liobn(0);
    if (!this.options.ddw || this.slots[slot] === undefined) return RtasStatus.PARAMETER_ERROR;
    this.slots[slot] = undefined;
    // The default window returns after the last one, unless that was in its place: then none is left.
    if (slot !== 0 && this.slots[0] === undefined) this.reset();
    return RtasStatus.SUCCESS;
  }

  /** Only the default window, empty. */
  reset(): void {
    const { dmaWinAddr, dmaWinSize } = this.options;
    this.slots.fill(undefined);
    this.slots[0] = new ModelWindow({
      liobn: this.liobn(0),
      busOffset: dmaWinAddr,
      pageShift: 12,
      entries: Number(dmaWinSize >> 12n),
    });
  }

  #allows(pageShift: number): boolean {
    return pageShift < 64 && (this.options.pgsz >> BigInt(pageShift) & 1n) === 1n;
  }
}
