import type { AddressRange, IommuError } from "@giommu/core";
import { intersect } from "@giommu/core";
import { undone } from "./_undo_failure.ts";
import type { IommuMemoryRegion, MemoryListener, MemorySection } from "@giommu/memory-api";
import { pageHull } from "./_arithmetic.ts";
import { IommuPiece } from "./_iommu_piece.ts";
import type { Mirror } from "./_mirror.ts";
import { mapRam, shownNow } from "./_ram_section.ts";
import { outOfReach } from "./_reach.ts";

/** Follows what a bus shows: maps RAM, and listens to IOMMUs. */
export class Sections implements MemoryListener {
  readonly #mirror: Mirror;
  readonly #runs: "full" | "call";
  #pieces: IommuPiece[] = [];
  /** Deletions that would need a hole that is not allowed: refused at the end of the transaction, nothing was done for them. */
  readonly #kept = new Map<MemorySection, IommuError>();
  /** Deletions of the transaction under way: such a section that is added again is told back. */
  readonly #gone = new Set<MemorySection>();
  /** Whether replays are begun and not done: somebody steps them. */
  deferred = false;
  /** Whether what is told is of no interest: the container is on its way out, or failed. */
  deaf = false;
  /** Whether the container lived when the transaction under way began. */
  #wasAlive = false;
  #pages = 0n;
  #extents = 0;
  #ram = 0;

  constructor(mirror: Mirror, runs: "full" | "call") {
    this.#mirror = mirror;
    this.#runs = runs;
  }

  /** The IOMMU pieces that are listened to. */
  get pieces(): readonly IommuPiece[] {
    return this.#pieces;
  }

  /** What replays told so far, and how many sections of RAM were mapped. */
  get told(): { readonly pages: bigint; readonly extents: number; readonly ram: number } {
    return { pages: this.#pages, extents: this.#extents, ram: this.#ram };
  }

  /** A transaction begins. */
  begin(): void {
    this.#gone.clear();
    this.#wasAlive = this.#mirror.failure === undefined;
  }

  /** A section appears. */
  regionAdd(section: MemorySection): void {
    if (this.deaf) return this.#unfollowed(() => [section.range]);
    if (this.#kept.delete(section)) return; // told back: it never went
    const isToldBack = this.#gone.delete(section);
    try {
      if (!isToldBack) { for (const error of this.#kept.values()) throw error; }
      this.#add(section);
    } catch (error) {
      if (isToldBack) this.#mirror.giveUp([section.range], error);
      throw error;
    }
  }

  /** A section, or a part of one, disappears. */
  regionDel(section: MemorySection): void {
    if (section.region.kind === "io") return;
    if (this.deaf) return this.#unfollowed(() => this.#mirror.heldIn(section.range));
    const refused = this.#mirror.unmap(section.range);
    if (refused !== undefined) {
      this.#kept.set(section, refused);
      return;
    }
    this.#gone.add(section);
    const { region, range, offsetWithinRegion } = section;
    if (region.kind === "iommu") this.#cut(region, range.start - offsetWithinRegion, range);
    this.#closeWindow(section);
  }

  /** The transaction is complete; here a deletion can still be refused. */
  commit(): void {
    for (const error of this.#kept.values()) throw error;
    this.#join();
    for (const { region } of this.#gone) if (region.kind === "ram") return this.#mirror.forgetRam();
  }

  /** Goes on with the first replay that is under way; returns whether all are over. */
  step(budget: number): boolean {
    const piece = this.#pieces.find((one) => one.stepper !== undefined);
    if (piece === undefined) return true;
    this.#count(piece, () => piece.step(budget));
    return this.#pieces.every((one) => one.stepper === undefined);
  }

  /** Listens to no IOMMU any more; what is mapped stays. */
  stop(): void {
    this.#kept.clear();
    const errors: unknown[] = [];
    for (const piece of this.#pieces.splice(0)) {
      try {
        piece.stop();
      } catch (error) {
        errors.push(error); // an IOMMU that does not want to be left is left all the same
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  #closeWindow(section: MemorySection): void {
    const left = this.#mirror.windows.close(section);
    if (left !== undefined) this.#mirror.problems.add(left);
  }

  /** A container that failed does not follow the rest of the transaction in which it did: that differs as well. */
  #unfollowed(ranges: () => readonly AddressRange[]): void {
    const { failure } = this.#mirror;
    if (failure !== undefined && this.#wasAlive) this.#mirror.giveUp(ranges(), failure);
  }

  /** Maps what a section shows, in a window of the host where it needs one: that is there first, and goes if the rest fails. */
  #add(section: MemorySection): void {
    const { windows, info } = this.#mirror;
    const refused = section.region.kind === "iommu" ? outOfReach(section, info) : undefined;
    if (refused !== undefined) throw refused;
    windows.open(section);
    try {
      if (section.region.kind === "ram") this.#ram += mapRam(this.#mirror, section) ? 1 : 0;
      else if (section.region.kind === "iommu") this.#addIommu(section, section.region);
    } catch (error) {
      if (this.#mirror.failure === undefined) this.#closeWindow(section);
      throw error;
    }
  }

  #addIommu(section: MemorySection, region: IommuMemoryRegion): void {
    const delta = section.range.start - section.offsetWithinRegion;
    const fresh = this.#unheard(region, delta, section.range);
    if (fresh === undefined) return;
    // What appears may make a page of the host whole again, of which another piece has the rest.
    const range = intersect(shownNow(section).range, pageHull(fresh, this.#mirror.page)) ?? fresh;
    this.#cut(region, delta, range);
    const piece = new IommuPiece(this.#mirror, region, range, delta, this.#runs);
    piece.start();
    if (!this.deferred) {
      try {
        this.#count(piece, () => {
          for (;;) {
            const progress = piece.step(Number.MAX_SAFE_INTEGER);
            if (progress.done) return progress;
          }
        });
      } catch (error) {
        piece.stop();
        // What was mapped before the refusal: nothing but the replay mapped anything here.
        if (this.#mirror.failure === undefined) undone(error, () => this.#mirror.unmap(range));
        throw error;
      }
    }
    this.#pieces.push(piece);
  }

  #count(piece: IommuPiece, step: () => { readonly pages: bigint; readonly extents: number }): void {
    const before = piece.stepper?.progress;
    const after = step();
    this.#pages += after.pages - (before?.pages ?? 0n);
    this.#extents += after.extents - (before?.extents ?? 0);
  }

  /** Joins pieces that adjoin again: else their number would grow with each thing that is laid over a window for a while. */
  #join(): void {
    // A piece that is replayed, or is being told of a change, stays what it is.
    const isBusy = this.#pieces.some(({ stepper, region }) => stepper !== undefined || region.notifiers.changing);
    if (this.#pieces.length < 2 || isBusy) return;
    const sorted = this.#pieces.toSorted((a, b) => (a.range.start < b.range.start ? -1 : 1));
    const groups: IommuPiece[][] = [];
    for (const piece of sorted) {
      const before = groups.at(-1)?.at(-1);
      const adjoins = before !== undefined && before.region === piece.region && before.delta === piece.delta &&
        before.range.last + 1n === piece.range.start;
      if (adjoins) groups.at(-1)?.push(piece);
      else groups.push([piece]);
    }
    if (groups.length < sorted.length) this.#pieces = groups.flatMap((group) => IommuPiece.joined(group) ?? []);
  }

  /** What of a new section no piece has: one that appeared in the same page of the host took all of the page. */
  #unheard(region: IommuMemoryRegion, delta: bigint, { start, last }: AddressRange): AddressRange | undefined {
    for (const { region: other, delta: at, range } of this.#pieces) {
      if (other !== region || at !== delta) continue;
      if (range.start <= start && start <= range.last) start = range.last + 1n;
      if (range.start <= last && last <= range.last) last = range.start - 1n;
    }
    return start <= last ? { start, last } : undefined;
  }

  /** Takes a stretch out of the pieces that show a region there. */
  #cut(region: IommuMemoryRegion, delta: bigint, range: AddressRange): void {
    this.#pieces = this.#pieces.flatMap((piece) =>
      piece.region === region && piece.delta === delta && intersect(piece.range, range) !== undefined
        ? piece.without(range)
        : [piece]
    );
  }
}
