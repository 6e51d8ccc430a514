import type { Gpa } from "@giommu/core";
import type { AddressSpace, GuestMemory } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import { bytesOf, type DmaEngine, wordOf } from "./dma_engine.ts";
import { DMA_KINDS, type DmaSample, type SampledPage } from "./dma_sample.ts";
import type { DmaDifference, DmaReport } from "./report.ts";

const WORD = 8n;

/** What a device's accesses are compared with. */
export interface DmaTruth {
  /** What the device sees: the guest's tables as they are now. */
  readonly space: AddressSpace;
  /** The guest's memory, from address 0. It is written. */
  readonly memory: GuestMemory;
  /** Whether what may only be written may be read as well, since the host has no such mappings. */
  readonly isWidened: boolean;
}

/** How one access ended; `found` is there if not as it should. */
interface Ended {
  readonly isRefused: boolean;
  readonly found?: string;
}

/**
 * Lets a device read and write through a sample of pages, and compares with what the guest's tables say: what they allow
 * must arrive there, everything else nowhere.
 *
 * Of each page the first word is read and the last one written.
 *
 * @param engine The device.
 * @param truth What is right.
 * @param sample The pages.
 * @param onProgress Told before each page of how many were looked at.
 * @returns How the accesses ended.
 */
export async function checkDma(
  engine: DmaEngine,
  truth: DmaTruth,
  sample: DmaSample,
  onProgress: (done: number) => void = () => {},
): Promise<DmaReport> {
  const looked = new Map<string, number>();
  const differences: DmaDifference[] = [];
  let [checked, refused] = [0, 0];
  for (const [index, page] of sample.pages.entries()) {
    onProgress(index);
    const words = new Words(truth, page);
    const accesses = { read: await words.read(engine), write: await words.write(engine) };
    for (const access of ["read", "write"] as const) {
      const ended = accesses[access];
      if (ended === undefined) continue;
      checked++;
      if (ended.found === undefined && ended.isRefused) refused++;
      if (ended.found !== undefined) {
        differences.push({ iova: page.iova, access, kinds: page.kinds, found: ended.found });
      }
    }
    for (const kind of page.kinds) looked.set(kind, (looked.get(kind) ?? 0) + 1);
  }
  const kinds = Object.fromEntries(
    DMA_KINDS.map((kind) => [kind, { pages: sample.counts.get(kind) ?? 0, checked: looked.get(kind) ?? 0 }]),
  );
  const missed = DMA_KINDS.filter((kind) => (sample.counts.get(kind) ?? 0) > 0 && !looked.has(kind));
  return { checked, agreed: checked - differences.length, refused, kinds, missed, differences };
}

/** Where an access gets to, and what it may do there. */
interface Place {
  /** Where in the guest's memory; `undefined` if a device must not get anywhere. */
  readonly at: Gpa | undefined;
  readonly perm: IommuPerm;
  /** Where it got to before, if that was another place. */
  readonly was: Gpa | undefined;
}

/** The words of one page, as the guest's tables and its memory have them. */
class Words {
  static #newest = 0n;
  readonly #truth: DmaTruth;
  readonly #page: SampledPage;

  constructor(truth: DmaTruth, page: SampledPage) {
    this.#truth = truth;
    this.#page = page;
  }

  /** Reads the first word. */
  async read(engine: DmaEngine): Promise<Ended> {
    const { at, perm, was } = this.#place(0n);
    const value = this.#mark(at);
    const before = this.#mark(was);
    const got = await engine.read(this.#page.iova);
    const isRefused = got === undefined;
    const isAllowed = (perm & IommuPerm.READ) !== 0;
    const isEither = !isAllowed && perm !== IommuPerm.NONE && this.#truth.isWidened;
    if (isAllowed ? got === value : isRefused || isEither && got === value) return { isRefused };
    if (isRefused) return { isRefused, found: "did not arrive" };
    if (was !== undefined && got === before) return { isRefused, found: "arrived where the page was before" };
    return { isRefused, found: got === value ? "arrived, which the guest does not allow" : "arrived elsewhere" };
  }

  /** Writes the last word; `undefined` where there is no place to look whether it arrived. */
  async write(engine: DmaEngine): Promise<Ended | undefined> {
    const offset = this.#page.size - WORD;
    const { at, perm, was } = this.#place(offset);
    if (at === undefined && was === undefined) return undefined;
    const [here, before] = [this.#mark(at), this.#mark(was)];
    const value = this.#mark(undefined);
    await engine.write(this.#page.iova + offset, value);
    const now = this.#wordAt(at);
    const isRefused = now !== value;
    if (was !== undefined && this.#wordAt(was) !== before) {
      return { isRefused, found: "arrived where the page was before" };
    }
    if ((perm & IommuPerm.WRITE) !== 0) return isRefused ? { isRefused, found: "did not arrive" } : { isRefused };
    if (at === undefined || now === here) return { isRefused };
    return { isRefused, found: "arrived, which the guest does not allow" };
  }

  #place(offset: bigint): Place {
    const { space, memory } = this.#truth;
    const found = space.translate(this.#page.iova + offset);
    const isRam = found.kind === "memory" && found.region.kind === "ram";
    const at = isRam ? found.address : undefined;
    const was = this.#page.was === undefined ? undefined : this.#page.was + offset;
    const isThere = was !== undefined && was !== at && was + WORD <= memory.size;
    return { at, perm: isRam ? found.perm : IommuPerm.NONE, was: isThere ? was : undefined };
  }

  /** Makes a word that was never there before, and writes it to a place, where there is one. */
  #mark(place: Gpa | undefined): bigint {
    const word = 0x6769_6f6d_0000_0000n | ++Words.#newest;
    if (place !== undefined) this.#truth.memory.write(place, bytesOf(word));
    return word;
  }

  #wordAt(place: Gpa | undefined): bigint | undefined {
    const bytes = new Uint8Array(8);
    return place !== undefined && this.#truth.memory.read(place, bytes) ? wordOf(bytes) : undefined;
  }
}
