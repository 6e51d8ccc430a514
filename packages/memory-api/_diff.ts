import type { FlatView } from "./flat_view.ts";
import type { MemorySection } from "./memory_section.ts";
import { sectionPart } from "./memory_section.ts";

/** What one view shows and another does not, ascending: stretches where the other shows nothing, another region, or another part of the region. */
export function missingFrom(view: FlatView, other: FlatView): MemorySection[] {
  const pieces: MemorySection[] = [];
  let index = 0;
  for (const section of view.sections) {
    let next = section.range.start;
    // Sections that end below this one matter to no later one either.
    let candidate = other.sections[index];
    while (candidate !== undefined && candidate.range.last < next) candidate = other.sections[++index];
    for (let at = index; next <= section.range.last; candidate = other.sections[++at]) {
      if (candidate === undefined || candidate.range.start > section.range.last) break;
      if (!sameMapping(section, candidate)) continue;
      const { start, last } = candidate.range;
      if (start > next) pieces.push(sectionPart(section, next, start - 1n));
      next = last + 1n;
    }
    if (next <= section.range.last) pieces.push(sectionPart(section, next, section.range.last));
  }
  return pieces;
}

/** Whether two sections put the same region at the same place, whatever part of it they show. */
function sameMapping(a: MemorySection, b: MemorySection): boolean {
  return a.region === b.region &&
    a.range.start - a.offsetWithinRegion === b.range.start - b.offsetWithinRegion;
}
