import type { AddressRange } from "@giommu/core";
import { ADDRESS_MAX, checkU64, hex } from "@giommu/core";
import { RawWalker } from "@giommu/core/wasm/walker";
import type { IotlbEntry, TargetSpace } from "@giommu/notifiers";
import type { IommuPerm } from "@giommu/notifiers";
import type { Found, MappingSource } from "./_source.ts";
import type { IommuMemoryRegion } from "./iommu_memory_region.ts";
import { iommuInit } from "./iommu_memory_region.ts";

/** How a region is probed. */
export interface ProbeOptions {
  readonly range: AddressRange;
  readonly granularity: bigint;
  readonly access: IommuPerm;
  readonly iommuIndex: number;
  /** Whether neighbouring entries become one run. */
  readonly joins: boolean;
}

const RUN = 1;
const REFUSED = 2;

/** The mappings of an IOMMU that offers `translate` alone: the core's walker says where to probe. */
export class WalkSource implements MappingSource {
  readonly #region: IommuMemoryRegion;
  readonly #options: ProbeOptions;
  readonly #walker: RawWalker;
  /** Target spaces by the numbers that the walker knows them by; system memory is 0. */
  readonly #spaces: (TargetSpace | undefined)[] = [undefined];
  #asked = 0;
  #closed = false;

  constructor(region: IommuMemoryRegion, options: ProbeOptions) {
    const { range, granularity, joins } = options;
    const walker = RawWalker.create(range.start, range.last, granularity, joins);
    if (walker === undefined) throw new RangeError(`Cannot walk region ${region.name} by ${hex(granularity)}`);
    this.#region = region;
    this.#options = options;
    this.#walker = walker;
  }

  get asked(): number {
    return this.#asked;
  }

  get position(): bigint | undefined {
    return this.#closed ? undefined : this.#walker.position();
  }

  advance(): Found | undefined {
    const probe = this.#walker.probe();
    if (probe === undefined) return this.flush();
    this.#asked++;
    const { access, iommuIndex } = this.#options;
    const entry = this.#region.translate(probe, access, iommuIndex);
    if (entry === undefined) return this.#found(this.#hole(probe));
    if ((entry.perm & access) !== access) {
      const { last } = entry.iova;
      return this.#found(this.#walker.answerHoleUntil(last === ADDRESS_MAX ? undefined : last + 1n));
    }
    const { iova, target, perm, pageSize } = entry;
    return this.#found(
      this.#walker.answerMapped(iova.start, iova.last, target, perm, shiftOf(pageSize), this.#number(entry)),
    );
  }

  flush(): Found | undefined {
    return this.#found(this.#walker.finish());
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#walker.free();
  }

  #hole(probe: bigint): number {
    const init = iommuInit(this.#region);
    if (init.nextMapped === undefined) return this.#walker.answerHole();
    const next = init.nextMapped(probe, this.#options.iommuIndex);
    if (next === undefined) return this.#walker.answerHoleUntil(undefined);
    checkU64(`nextMapped of region ${this.#region.name}`, next);
    if (next < probe) {
      throw new RangeError(
        `Cannot replay region ${this.#region.name}: its nextMapped(${hex(probe)}) is ${hex(next)}, which lies below`,
      );
    }
    return this.#walker.answerHoleUntil(next);
  }

  #found(answer: number): Found | undefined {
    if (answer === REFUSED) {
      throw new RangeError(`Cannot replay region ${this.#region.name}: the walk refused an entry`);
    }
    if (answer !== RUN) return undefined;
    const walker = this.#walker;
    const meta = walker.runMeta;
    const targetSpace = this.#spaces[walker.runSpace];
    const entry: IotlbEntry = {
      iova: { start: walker.runStart, last: walker.runLast },
      target: walker.runTarget,
      perm: (meta & 3) as IommuPerm,
      pageSize: 1n << BigInt(meta >> 8),
      ...(targetSpace !== undefined && { targetSpace }),
    };
    return { entry, pages: walker.runPagesMinus1 + 1n };
  }

  #number({ targetSpace }: IotlbEntry): number {
    if (targetSpace === undefined) return 0;
    const known = this.#spaces.indexOf(targetSpace);
    return known >= 0 ? known : this.#spaces.push(targetSpace) - 1;
  }
}

function shiftOf(pageSize: bigint): number {
  return pageSize.toString(2).length - 1;
}
