import type { AddressRange } from "@giommu/core";
import { HostMaps } from "./_host_maps.ts";
import type { HostMapping } from "./host_iommu.ts";

/** What is mapped, of which parts can be cut out. */
export class MappingLedger implements Iterable<HostMapping> {
  readonly #maps = new HostMaps();

  /** The mappings, ascending. */
  [Symbol.iterator](): Iterator<HostMapping> {
    return this.#maps[Symbol.iterator]();
  }

  /** Adds a mapping; returns whether nothing was in its way. */
  add(mapping: HostMapping): boolean {
    if (this.#maps.touches(mapping.iova)) return false;
    this.#maps.add(mapping);
    return true;
  }

  /** Takes a range out of all mappings; returns what went, ascending. */
  cut(range: AddressRange): HostMapping[] {
    const gone: HostMapping[] = [];
    for (const map of this.#maps.overlapping(range)) {
      const part = this.#maps.cut(map, range);
      if (part !== undefined) gone.push(part);
    }
    return gone;
  }

  /** One with the same mappings, that goes its own way. */
  copy(): MappingLedger {
    const copy = new MappingLedger();
    for (const mapping of this) copy.#maps.add(mapping);
    return copy;
  }

  /** Whether every address is translated as another ledger does, however the mappings are cut. */
  translatesAs(other: MappingLedger): boolean {
    const theirs = joined(other);
    for (const mine of joined(this)) {
      const one = theirs.next().value;
      const same = one !== undefined && mine.iova.start === one.iova.start && mine.iova.last === one.iova.last &&
        mine.gpa === one.gpa && mine.perm === one.perm;
      if (!same) return false;
    }
    return theirs.next().done === true;
  }
}

/** The mappings, with those as one that continue each other. */
function* joined(mappings: Iterable<HostMapping>): Generator<HostMapping, undefined> {
  let run: HostMapping | undefined;
  for (const mapping of mappings) {
    const goesOn = run !== undefined && run.iova.last + 1n === mapping.iova.start && run.perm === mapping.perm &&
      run.gpa + (mapping.iova.start - run.iova.start) === mapping.gpa;
    if (run !== undefined && goesOn) run = { ...run, iova: { start: run.iova.start, last: mapping.iova.last } };
    else {
      if (run !== undefined) yield run;
      run = mapping;
    }
  }
  if (run !== undefined) yield run;
}
