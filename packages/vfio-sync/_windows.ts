import type { AddressRange } from "@giommu/core";
import { formatRange, hex, intersect, IommuError } from "@giommu/core";
import type { MemorySection, TerminalRegion } from "@giommu/memory-api";
import { covers, log2, lowestBit, subtract } from "./_arithmetic.ts";
import type { HostIommu } from "./host_iommu.ts";
import type { HostWindowLimits } from "./host_windows.ts";

/** What a host answers that is not asked: it puts a window wherever it is wanted. */
export const ANYWHERE = -1n;

/** The last address of a 64-bit bus. */
const BUS_LAST = (1n << 64n) - 1n;

/** One window of the host. */
interface HostWindow {
  /** What it is for; nothing if the host put it where nobody wants it, and did not remove it. */
  readonly region: TerminalRegion | undefined;
  /** What bus addresses lie above region addresses. */
  readonly delta: bigint;
  readonly range: AddressRange;
  readonly pageShift: number;
  /** What of it the bus shows; nothing if the host did not remove it when it should have. */
  shown: readonly AddressRange[];
}

/**
 * Keeps a window on the host for each IOMMU (and each section of RAM) that the bus shows, where the host maps only inside of
 * windows, as sPAPR does (hw/vfio/spapr.c). On every other host it does nothing.
 */
export class Windows {
  readonly #host: HostIommu;
  readonly #limits: HostWindowLimits | undefined;
  #windows: HostWindow[] = [];

  constructor(host: HostIommu) {
    this.#host = host;
    this.#limits = host.info.windows;
  }

  /** The same windows on another host, to try something out. */
  copy(host: HostIommu): Windows {
    const copy = new Windows(host);
    copy.#windows = this.#windows.map((window) => ({ ...window }));
    return copy;
  }

  /** Sees to it that a section lies in a window. Throws if it cannot; nothing is left over then. */
  open(section: MemorySection): void {
    const limits = this.#limits;
    const { region, range } = section;
    if (limits === undefined || region.kind === "io") return;
    const delta = range.start - section.offsetWithinRegion;
    const mine = this.#windows.find((one) => one.region === region && one.delta === delta && covers(one.range, range));
    if (mine !== undefined) {
      mine.shown = [...mine.shown, range];
      return;
    }
    this.#removeEmpty();
    const wanted = this.#place(section, delta);
    const other = this.#overlapping(wanted);
    if (other !== undefined) {
      throw this.#refusal(wanted, `it overlaps the window ${formatRange(other.range)}`, {
        code: "overlap",
        remedy: "an sPAPR host cannot show one window above another: place them apart",
      });
    }
    const pageShift = this.#pageShift(section, limits, wanted);
    if (this.#windows.length >= limits.count) {
      throw this.#refusal(wanted, `it holds ${this.#windows.length} of ${limits.count} windows`, {
        remedy: "remove another window first",
      });
    }
    this.#create(wanted, pageShift, limits);
    this.#windows.push({ region, delta, range: wanted, pageShift, shown: [range] });
  }

  /** A section was unmapped: if the bus shows nothing more of its window, that goes. Returns why not, if the host keeps it. */
  close({ region, range, offsetWithinRegion }: MemorySection): IommuError | undefined {
    const delta = range.start - offsetWithinRegion;
    const mine = this.#windows.find((one) => one.region === region && one.delta === delta && covers(one.range, range));
    if (mine === undefined) return undefined;
    mine.shown = subtract(mine.shown, range);
    return mine.shown.length === 0 ? this.#remove(mine) : undefined;
  }

  /** Removes all windows; nothing is mapped there any more. Returns why not, one error for each that the host keeps. */
  clear(): IommuError[] {
    for (const window of this.#windows) window.shown = [];
    return this.#removeEmpty();
  }

  /** Where a window should be: where all of an IOMMU would be seen, as other parts of it may appear later, if that is free. */
  #place({ region, range }: MemorySection, delta: bigint): AddressRange {
    const all = region.kind === "iommu" ? extent(region.size, delta) : undefined;
    return all !== undefined && this.#overlapping(all) === undefined ? all : range;
  }

  #overlapping(range: AddressRange): HostWindow | undefined {
    return this.#windows.find((one) => intersect(one.range, range) !== undefined);
  }

  /** Tries once more to remove what the host kept. */
  #removeEmpty(): IommuError[] {
    return this.#windows.filter(({ shown }) => shown.length === 0).flatMap((window) => this.#remove(window) ?? []);
  }

  #remove(window: HostWindow): IommuError | undefined {
    try {
      this.#host.removeWindow?.(window.range.start);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      return new IommuError("unmap-failed", `Cannot remove the window ${formatRange(window.range)}: ${why}`, {
        range: window.range,
        remedy: "it is empty, and tried again when the next window is created or the container is detached",
        cause,
      });
    }
    this.#windows = this.#windows.filter((one) => one !== window);
    return undefined;
  }

  /** Creates a window, with as few levels as the host takes. */
  #create(wanted: AddressRange, pageShift: number, limits: HostWindowLimits): void {
    const size = wanted.last - wanted.start + 1n;
    // One level holds as many entries as fit the host's page, times 32; as in QEMU, more are tried where the host refuses.
    const bits = log2(lowestBit(this.#host.info.pageSizes)) + 8;
    const least = Math.max(Math.ceil((size.toString(2).length - 1 - pageShift) / bits), 1);
    for (let levels = Math.min(least, limits.levels);; levels++) {
      let start: bigint | undefined;
      try {
        start = this.#host.createWindow?.({ size, pageShift, levels });
      } catch (cause) {
        if (levels < limits.levels) continue;
        const why = cause instanceof Error ? cause.message : String(cause);
        throw this.#refusal(wanted, why, { remedy: "use a smaller window, or larger pages", cause });
      }
      if (start === wanted.start || start === ANYWHERE) return;
      this.#misplaced(wanted, pageShift, start ?? 0n);
    }
  }

  /** The host put a window somewhere else than the guest has it. */
  #misplaced(wanted: AddressRange, pageShift: number, start: bigint): never {
    const range = { start, last: start + (wanted.last - wanted.start) };
    const stray: HostWindow = { region: undefined, delta: 0n, range, pageShift, shown: [] };
    this.#windows.push(stray);
    const kept = this.#remove(stray);
    throw this.#refusal(
      wanted,
      `it puts such a window at ${hex(start)}${kept === undefined ? "" : `, and keeps it there: ${kept.message}`}`,
      {
        code: "iova-out-of-range",
        remedy: "place the guest's window where the host has its own (dma_win_addr and dma64_win_addr of the PHB)",
        cause: kept,
      },
    );
  }

  /** The largest page of the host that is not larger than the guest's. */
  #pageShift({ region }: MemorySection, { pageSizes }: HostWindowLimits, wanted: AddressRange): number {
    const guest = region.kind === "iommu" ? region.minPageSize : lowestBit(this.#host.info.pageSizes);
    for (let shift = log2(guest); shift >= 0; shift--) {
      if (pageSizes >> BigInt(shift) & 1n) return shift;
    }
    throw this.#refusal(wanted, `its windows have no pages of ${hex(guest)} or less`, {
      code: "page-too-fine",
      remedy: "let the guest use larger IOMMU pages",
    });
  }

  #refusal(
    range: AddressRange,
    why: string,
    { code = "host-refused", remedy, cause }: {
      readonly code?: "host-refused" | "overlap" | "iova-out-of-range" | "page-too-fine";
      readonly remedy: string;
      readonly cause?: unknown;
    },
  ): IommuError {
    const message = `Cannot create a window ${formatRange(range)} on ${this.#host.info.name}: ${why}`;
    return new IommuError(code, message, { range, remedy, ...(cause !== undefined && { cause }) });
  }
}

/** Where all of a region would be seen; `undefined` where that is not on the bus. */
function extent(size: bigint, delta: bigint): AddressRange | undefined {
  const last = delta + size - 1n;
  return delta >= 0n && last <= BUS_LAST ? { start: delta, last } : undefined;
}
