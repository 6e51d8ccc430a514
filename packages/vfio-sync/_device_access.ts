import { ADDRESS_MAX, checkU64 } from "@giommu/core";
import { IommuPerm } from "@giommu/notifiers";
import type { RangeMap } from "./_range_map.ts";
import type { HostDma } from "./host_dma.ts";
import type { HostMapping } from "./host_iommu.ts";

/**
 * Carries an access of a device out, page by page: what has no translation faults, and the access goes on with the next page.
 *
 * @param maps What is mapped.
 * @param page The host's smallest page.
 * @param iova Where it begins.
 * @param bytes What is filled or written. Mappings without bytes behind them take any write, and read as they are.
 * @param access READ or WRITE.
 * @param written Told of each stretch that was written.
 */
export function accessDevice(
  maps: RangeMap<HostMapping>,
  page: bigint,
  iova: bigint,
  bytes: Uint8Array,
  access: IommuPerm,
  written?: (iova: bigint) => void,
): HostDma {
  let address = checkU64("iova", iova);
  if (!(bytes instanceof Uint8Array)) throw new TypeError(`Cannot access memory: expected a Uint8Array`);
  const faults: bigint[] = [];
  let done = 0;
  for (let at = 0; at < bytes.length && address <= ADDRESS_MAX;) {
    const left = BigInt(bytes.length - at);
    const toEnd = page - address % page;
    const length = Number(toEnd < left ? toEnd : left);
    const map = maps.find(address);
    if (map !== undefined && (map.perm & access) !== 0 && move(map, address, bytes.subarray(at, at + length), access)) {
      done += length;
      if (access === IommuPerm.WRITE) written?.(address);
    } else {
      faults.push(address);
    }
    at += length;
    address += BigInt(length);
  }
  return { bytes: done, faults };
}

function move({ iova, ram, ramOffset = 0n }: HostMapping, at: bigint, bytes: Uint8Array, access: IommuPerm): boolean {
  const memory = ram?.memory;
  if (memory === undefined) return true;
  const offset = ramOffset + (at - iova.start);
  return access === IommuPerm.READ ? memory.read(offset, bytes) : memory.write(offset, bytes);
}
