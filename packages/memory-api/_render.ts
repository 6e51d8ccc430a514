import { ADDRESS_MAX } from "@giommu/core";
import type { AddressSpace } from "./address_space.ts";
import type { AliasRegion } from "./alias_region.ts";
import { FlatView } from "./flat_view.ts";
import type { MemoryRegion } from "./memory_region.ts";
import type { MemorySection, TerminalRegion } from "./memory_section.ts";
import { indexFrom, newSection } from "./memory_section.ts";

/** Sections being painted: disjoint, ascending. What was painted earlier stays on top. */
class Canvas {
  readonly sections: MemorySection[] = [];
  readonly #space: AddressSpace;

  constructor(space: AddressSpace) {
    this.#space = space;
  }

  /** Paints a region, whose offset 0 is at `base`, wherever nothing is painted from `start` to `last`. */
  fill(region: TerminalRegion, base: bigint, start: bigint, last: bigint): void {
    const first = indexFrom(this.sections, start);
    const pieces: MemorySection[] = [];
    let next = start;
    let index = first;
    for (; next <= last; index++) {
      const painted = this.sections[index];
      if (painted === undefined || painted.range.start > last) {
        pieces.push(newSection(region, next - base, next, last, this.#space));
        break;
      }
      if (painted.range.start > next) {
        pieces.push(newSection(region, next - base, next, painted.range.start - 1n, this.#space));
      }
      pieces.push(painted);
      next = painted.range.last + 1n;
    }
    this.sections.splice(first, index - first, ...pieces);
  }
}

/** Paints what a space shows. */
export function render(space: AddressSpace): FlatView {
  const canvas = new Canvas(space);
  paint(canvas, space.root, 0n, 0n, ADDRESS_MAX);
  return new FlatView(joined(canvas.sections));
}

/** Paints a region, whose offset 0 is at `base` (negative where an alias begins in its middle), inside a clip. */
function paint(canvas: Canvas, region: MemoryRegion, base: bigint, clipStart: bigint, clipLast: bigint): void {
  if (!region.enabled) return;
  const end = base + region.size - 1n;
  const start = base > clipStart ? base : clipStart;
  const last = end < clipLast ? end : clipLast;
  if (start > last) return;
  if (region.kind === "alias") {
    const { target, offset } = region as AliasRegion;
    paint(canvas, target, base - offset, start, last);
    return;
  }
  for (const child of region.subregions) paint(canvas, child.region, base + child.offset, start, last);
  if (region.kind !== "container") canvas.fill(region as TerminalRegion, base, start, last);
}

/** Makes one section of neighbours that continue each other. */
function joined(sections: readonly MemorySection[]): MemorySection[] {
  const out: MemorySection[] = [];
  for (const section of sections) {
    const before = out.at(-1);
    if (before === undefined || !continues(before, section)) {
      out.push(section);
      continue;
    }
    const { region, offsetWithinRegion, range, space } = before;
    out[out.length - 1] = newSection(region, offsetWithinRegion, range.start, section.range.last, space);
  }
  return out;
}

function continues(before: MemorySection, section: MemorySection): boolean {
  return before.region === section.region && before.range.last + 1n === section.range.start &&
    before.offsetWithinRegion + (section.range.start - before.range.start) === section.offsetWithinRegion;
}
