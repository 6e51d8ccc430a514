import type { AddressRange } from "@giommu/core";
import { formatRange, hex, intersect, IommuError } from "@giommu/core";
import type { IommuMemoryRegion, MemoryListener, MemorySection } from "@giommu/memory-api";
import { lowestBit } from "./_arithmetic.ts";
import { IommuPiece } from "./_iommu_piece.ts";
import type { Mirror } from "./_mirror.ts";
import { MapKind } from "./_mirror.ts";
import { ramMapping } from "./_ram_section.ts";

/** Follows what a bus shows: maps RAM, and listens to IOMMUs. */
export class Sections implements MemoryListener {
  readonly #mirror: Mirror;
  readonly #runs: "full" | "call";
  readonly #page: bigint;
  #pieces: IommuPiece[] = [];
  /** Deletions that would need a hole that is not allowed: refused at the end of the transaction, nothing was done for them. */
  readonly #kept = new Map<MemorySection, IommuError>();
  /** Deletions of the transaction under way: such a section that is added again is told back. */
  readonly #gone = new Set<MemorySection>();
  /** Whether replays are begun and not done: somebody steps them. */
  deferred = false;
  /** Whether what is told is of no interest: the container is on its way out, or failed. */
  deaf = false;
  #pages = 0n;
  #extents = 0;
  #ram = 0;

  constructor(mirror: Mirror, runs: "full" | "call") {
    this.#mirror = mirror;
    this.#runs = runs;
    this.#page = lowestBit(mirror.info.pageSizes);
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
  }

  /** A section appears. */
  regionAdd(section: MemorySection): void {
    if (this.deaf) return;
    if (this.#kept.delete(section)) return; // told back: it never went
    const isToldBack = this.#gone.delete(section);
    try {
      if (!isToldBack) { for (const error of this.#kept.values()) throw error; }
      if (section.region.kind === "ram") this.#addRam(section);
      else if (section.region.kind === "iommu") this.#addIommu(section, section.region);
    } catch (error) {
      if (isToldBack) this.#mirror.giveUp([section.range], error);
      throw error;
    }
  }

  /** A section, or a part of one, disappears. */
  regionDel(section: MemorySection): void {
    if (this.deaf || section.region.kind === "io") return;
    const refused = this.#mirror.unmap(section.range);
    if (refused !== undefined) {
      this.#kept.set(section, refused);
      return;
    }
    this.#gone.add(section);
    if (section.region.kind === "iommu") this.#shrink(section);
  }

  /** The transaction is complete; here a deletion can still be refused. */
  commit(): void {
    for (const error of this.#kept.values()) throw error;
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
    for (const piece of this.#pieces.splice(0)) piece.stop();
    this.#kept.clear();
  }

  #addRam(section: MemorySection): void {
    const { mapping, trimmed } = ramMapping(section, this.#page, this.#mirror.memory);
    if (trimmed > 0n) this.#mirror.problems.add(this.#unaligned(section, trimmed));
    if (mapping === undefined) return;
    const { iova, gpa, perm, ram, ramOffset } = mapping;
    const { raw, backings } = this.#mirror.driver;
    const shift = this.#page.toString(2).length - 1;
    const meta = perm | MapKind.RAM << 8 | shift << 16;
    this.#mirror.request(raw.map(iova.start, iova.last, gpa, 0n, backings.number(ram, gpa - ramOffset), meta));
    this.#ram++;
  }

  #addIommu(section: MemorySection, region: IommuMemoryRegion): void {
    const { range } = section;
    const piece = new IommuPiece(this.#mirror, region, range, range.start - section.offsetWithinRegion, this.#runs);
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
        if (this.#mirror.failure === undefined) this.#mirror.unmap(range);
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

  #shrink({ region, range, offsetWithinRegion }: MemorySection): void {
    const delta = range.start - offsetWithinRegion;
    this.#pieces = this.#pieces.flatMap((piece) =>
      piece.region === region && piece.delta === delta && intersect(piece.range, range) !== undefined
        ? piece.without(range)
        : [piece]
    );
  }

  #unaligned({ region, range }: MemorySection, trimmed: bigint): IommuError {
    const whole: AddressRange = range;
    return new IommuError(
      "page-too-fine",
      `Cannot map ${hex(trimmed)} bytes of RAM ${region.name} at ${formatRange(whole)}: they are in no whole page of ` +
        `${this.#mirror.info.name}, ${hex(this.#page)}`,
      { range: whole, remedy: "place RAM at multiples of the host's page size" },
    );
  }
}
