import type { AddressRange } from "@giommu/core";

const TRACING = "/sys/kernel/tracing";
const EVENTS = ["map", "unmap"].map((name) => `${TRACING}/events/iommu/${name}/enable`);

/** One line of the kernel's own log of what it did to an IOMMU's page table. */
export interface KernelEvent {
  readonly call: "map" | "unmap";
  readonly iova: AddressRange;
}

/** The kernel's log of what it maps and unmaps, from now on. */
export class KernelLog implements Disposable {
  constructor() {
    Deno.writeTextFileSync(`${TRACING}/buffer_size_kb`, "8192");
    Deno.writeTextFileSync(`${TRACING}/trace`, "");
    for (const event of EVENTS) Deno.writeTextFileSync(event, "1");
  }

  /** What was done since it was asked last. Nobody may be doing anything: what is done meanwhile may be missing. */
  take(): KernelEvent[] {
    const events = this.look();
    Deno.writeTextFileSync(`${TRACING}/trace`, "");
    return events;
  }

  /** The same, which will be told again. */
  look(): KernelEvent[] {
    const text = Deno.readTextFileSync(`${TRACING}/trace`);
    if (/\[LOST/.test(text)) throw new Error("Cannot read the kernel's log: it lost lines");
    return Array.from(text.matchAll(/: (map|unmap): IOMMU: iova=0x([\da-f]+) - 0x([\da-f]+)/g), (line) => ({
      call: line[1] as "map" | "unmap",
      iova: { start: BigInt(`0x${line[2]}`), last: BigInt(`0x${line[3]}`) - 1n },
    }));
  }

  [Symbol.dispose](): void {
    for (const event of EVENTS) Deno.writeTextFileSync(event, "0");
  }
}

/** Pages of 4 KiB that are mapped after some events, ascending. */
export function pagesAfter(events: readonly KernelEvent[], before: readonly bigint[] = []): bigint[] {
  const pages = new Set(before);
  for (const { call, iova } of events) {
    for (let page = iova.start >> 12n; page <= iova.last >> 12n; page++) {
      if (call === "map") pages.add(page);
      else pages.delete(page);
    }
  }
  return [...pages].sort((a, b) => (a < b ? -1 : 1));
}
