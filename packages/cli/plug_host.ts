import type { AddressRange } from "@giommu/core";
import type { AddressSpace, GuestMemory } from "@giommu/memory-api";
import type { HostIommu } from "@giommu/vfio-sync";
import type { DmaEngine } from "./dma_engine.ts";

/** A host that a device is plugged into, and the memory of the guest. */
export interface PlugHost extends Disposable {
  /** The host; it tells what it holds. */
  readonly host: HostIommu;
  /** The guest's memory map; `undefined` where every address is RAM without bytes. */
  readonly memory: AddressSpace | undefined;
  /** The bytes of the guest's memory, from address 0; `undefined` where it has none. */
  readonly bytes: GuestMemory | undefined;
  /**
   * The device's DMA engine.
   *
   * @param taken Bus addresses that belong to the guest, ascending: the engine needs a page of its own beside them.
   * @returns The engine, which the caller disposes of before the next one is asked for.
   * @throws {IommuError} `"backend-unavailable"` if the device has none, or does not reach that page.
   */
  dmaEngine(taken: readonly AddressRange[]): Promise<DmaEngine>;
  /** Cuts the device off: the host may hold what the guest has removed. */
  cutOff(): void;
}
