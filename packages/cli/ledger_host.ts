import type { AddressRange } from "@giommu/core";
import type { HostIommu, HostIommuInfo, HostMapAllResult, HostMapping } from "@giommu/vfio-sync";
import { SimulatedHost } from "@giommu/vfio-sync";

const PAGE = 0x1000n;
/** Of a call about more pages, only the first and the last are noted: RAM that is mapped whole is not what changes. */
const MOST_PAGES = 4096n;

/** What happened to a page since {@linkcode LedgerHost.watch}. */
export type PageHistory = "unmapped" | "changed";

/** A host that cannot be asked what it holds, with a ledger of what it took. */
export class LedgerHost implements HostIommu {
  /** What the host can hold. */
  readonly info: HostIommuInfo;
  readonly #host: HostIommu;
  readonly #ledger = new SimulatedHost();
  readonly #history = new Map<bigint, PageHistory>();
  #isWatching = false;

  /**
   * Begins an empty ledger.
   *
   * @param host The host, which holds nothing. Borrowed.
   */
  constructor(host: HostIommu) {
    this.#host = host;
    this.info = host.info;
  }

  /** Notes from now on which pages go, and which come back elsewhere. */
  watch(): void {
    this.#isWatching = true;
  }

  /** What happened to pages since then, by their first bus address, in the order in which it happened. */
  get history(): ReadonlyMap<bigint, PageHistory> {
    return this.#history;
  }

  /**
   * What a device reaches, by the ledger.
   *
   * @param iova A bus address.
   * @returns The guest-physical address and the permission; `undefined` where nothing is mapped.
   */
  translate(iova: bigint): ReturnType<SimulatedHost["translate"]> {
    return this.#ledger.translate(iova);
  }

  /** See {@linkcode HostIommu.map}. */
  map(mapping: HostMapping): void {
    this.#host.map(mapping);
    this.#note(mapping);
  }

  /** See {@linkcode HostIommu.mapAll}. */
  mapAll(mappings: readonly HostMapping[]): HostMapAllResult {
    if (this.#host.mapAll === undefined) {
      const [first] = mappings;
      if (first !== undefined) this.map(first);
      return { done: first === undefined ? 0 : 1 };
    }
    const result = this.#host.mapAll(mappings);
    for (const mapping of mappings.slice(0, result.done)) this.#note(mapping);
    return result;
  }

  /** See {@linkcode HostIommu.unmap}. */
  unmap(range: AddressRange): bigint {
    const bytes = this.#host.unmap(range);
    for (const page of this.#isWatching ? pages(range) : []) {
      if (this.#ledger.translate(page) !== undefined) this.#history.set(page, "unmapped");
    }
    this.#ledger.unmap(range);
    return bytes;
  }

  /** What the host took and did not give back. */
  mappings(): Iterable<HostMapping> {
    return this.#ledger.mappings();
  }

  #note(mapping: HostMapping): void {
    this.#ledger.map(mapping);
    for (const page of this.#isWatching ? pages(mapping.iova) : []) {
      if (this.#history.has(page)) this.#history.set(page, "changed");
    }
  }
}

function* pages({ start, last }: AddressRange): Generator<bigint> {
  const step = last - start < MOST_PAGES * PAGE ? PAGE : last - start + 1n - PAGE;
  for (let page = start; page <= last; page += step) yield page;
}
