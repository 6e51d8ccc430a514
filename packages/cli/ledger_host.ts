import type { AddressRange } from "@giommu/core";
import type { HostIommu, HostIommuInfo, HostMapAllResult, HostMapping } from "@giommu/vfio-sync";
import { SimulatedHost } from "@giommu/vfio-sync";

/** A host that takes several maps in one call, and cannot be asked what it holds. */
type SilentHost = HostIommu & Required<Pick<HostIommu, "mapAll">>;

/**
 * A real host with a ledger: a kernel does not tell what it has mapped, so that every call that it took is written down.
 *
 * The ledger knows nothing of the container that makes the calls, nor of the guest.
 */
export class LedgerHost implements HostIommu {
  /** What the real host can hold. */
  readonly info: HostIommuInfo;
  readonly #host: SilentHost;
  /** Parts of mappings go where the host lets them: this one refuses nothing that a host took. */
  readonly #ledger = new SimulatedHost();

  /**
   * Begins an empty ledger.
   *
   * @param host The host, which holds nothing. Borrowed.
   */
  constructor(host: SilentHost) {
    this.#host = host;
    this.info = host.info;
  }

  /** See `HostIommu.map`. */
  map(mapping: HostMapping): void {
    this.#host.map(mapping);
    this.#ledger.map(mapping);
  }

  /** See `HostIommu.mapAll`. */
  mapAll(mappings: readonly HostMapping[]): HostMapAllResult {
    const result = this.#host.mapAll(mappings);
    for (const mapping of mappings.slice(0, result.done)) this.#ledger.map(mapping);
    return result;
  }

  /** See `HostIommu.unmap`. */
  unmap(range: AddressRange): bigint {
    const bytes = this.#host.unmap(range);
    this.#ledger.unmap(range);
    return bytes;
  }

  /** What the host took and did not give back, ascending. */
  mappings(): Iterable<HostMapping> {
    return this.#ledger.mappings();
  }
}
