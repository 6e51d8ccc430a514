/** A call of the guest that changed its IOMMU, or a line that shows what it changed there. */
export interface GuestCall {
  /** The line of QEMU's log, from 1. */
  readonly line: number;
  /** The event's name in QEMU's source. */
  readonly event: string;
  /** What it is called by who specified it: `H_PUT_TCE`, `H_STUFF_TCE`, `H_PUT_TCE_INDIRECT`, or what the IOMMU did. */
  readonly name: string;
  /** The table, where there is one. */
  readonly liobn?: bigint;
  /** The first bus address. */
  readonly ioba: bigint;
  /** How many entries. */
  readonly pages: number;
  /** The entry that was written, or the last of them; absent where several were not logged. */
  readonly tce?: bigint;
  /** What QEMU answered, where the guest is told. */
  readonly ret?: number;
}
