import { ADDRESS_MAX, formatRange, hex, intersect } from "@giommu/core";
import type { AddressRange } from "@giommu/core";
import type { IotlbEntry } from "@giommu/notifiers";
import { checkEntry, IommuPerm } from "@giommu/notifiers";
import type { Found, MappingSource } from "./_source.ts";
import type { IommuMemoryRegion, IommuMemoryRegionInit, OwnReplayOptions } from "./iommu_memory_region.ts";
import { iommuInit } from "./iommu_memory_region.ts";

/** The mappings of an IOMMU that walks them itself. */
export class OwnSource implements MappingSource {
  readonly #region: IommuMemoryRegion;
  readonly #name: string;
  readonly #options: OwnReplayOptions;
  readonly #iterator: Iterator<IotlbEntry>;
  #position: bigint | undefined;
  #asked = 0;

  constructor(
    region: IommuMemoryRegion,
    replay: NonNullable<IommuMemoryRegionInit["replay"]>,
    options: OwnReplayOptions,
  ) {
    this.#region = region;
    this.#name = `replayed entry of region ${region.name}`;
    this.#options = options;
    this.#position = options.range.start;
    const entries = replay.call(iommuInit(region), options);
    if (typeof entries?.[Symbol.iterator] !== "function") {
      throw new TypeError(`Cannot replay region ${region.name}: its replay returned no iterable`);
    }
    this.#iterator = entries[Symbol.iterator]();
  }

  get asked(): number {
    return this.#asked;
  }

  get position(): bigint | undefined {
    return this.#position;
  }

  advance(): Found | undefined {
    const position = this.#position;
    if (position === undefined) return undefined;
    const { range, access } = this.#options;
    const next = this.#iterator.next();
    if (next.done === true) {
      this.#position = undefined;
      return undefined;
    }
    const entry = checkEntry(this.#name, next.value);
    const { start, last } = entry.iova;
    // Only the first may begin before what was asked for; every other one has to lie behind the one before it.
    if (last < position || (start < position && this.#asked > 0)) {
      throw new RangeError(
        `Cannot replay region ${this.#region.name}: entry ${formatRange(entry.iova)} does not lie behind ${
          hex(position)
        }`,
      );
    }
    this.#asked++;
    const isWhole = start >= position && last <= range.last;
    const inside = isWhole ? entry.iova : intersect(entry.iova, { start: position, last: range.last });
    if (inside === undefined || inside.last === range.last || inside.last === ADDRESS_MAX) {
      this.#position = undefined;
      this.close();
    } else {
      this.#position = inside.last + 1n;
    }
    if (inside === undefined || entry.perm === IommuPerm.NONE || (entry.perm & access) !== access) return undefined;
    return { entry, pages: pagesTouched(entry, inside) };
  }

  flush(): undefined {
    return undefined;
  }

  close(): void {
    this.#iterator.return?.();
  }
}

/** How many pages of its own size a part of an entry touches. */
function pagesTouched({ iova, pageSize }: IotlbEntry, part: AddressRange): bigint {
  if (iova.last - iova.start < pageSize) return 1n; // most entries; a division costs more than all the rest here
  return (part.last - iova.start) / pageSize - (part.start - iova.start) / pageSize + 1n;
}
