import { IommuError } from "@giommu/core";
import type { AddressSpace, IommuMemoryRegion, ReplayProgress, TerminalRegion } from "@giommu/memory-api";
import { ReplayStepper } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { overBudget } from "./_budget.ts";
import { Driver } from "./_driver.ts";
import { mappable } from "./_iommu_piece.ts";
import type { Mirror } from "./_mirror.ts";
import { ANYWHERE } from "./_windows.ts";
import { mapRam } from "./_ram_section.ts";
import { outOfReach } from "./_reach.ts";
import type { AttachPlan } from "./attach_report.ts";
import { countMaps } from "./count_maps.ts";
import type { HostIommu } from "./host_iommu.ts";

/** An IOMMU region of more than that many of its smallest pages may be too much to be walked in one go. */
const LARGE = 1n << 24n;

/** How far such a region is tried if there is a bound, in probes or entries of its own replay. */
const BOUND = 1 << 16;

/**
 * Tries an attach out on a copy of the container's state, with a host that takes everything: whatever the limits
 * forbid is found before the first call on the real one.
 *
 * @param mirror Whose state and limits count; nothing of it is changed.
 * @param space What would be attached.
 * @param memory System memory.
 * @param runs How replays are cut.
 * @param how How many mappings are to be left free; whether to look only at the beginning of IOMMU regions that may be too
 * large; whether to say what each policy would need, which takes two more walks.
 */
export function planAttach(
  mirror: Mirror,
  space: AddressSpace,
  memory: AddressSpace | undefined,
  runs: "full" | "call",
  how: { readonly headroom: number; readonly isBounded: boolean; readonly counts: boolean },
): AttachPlan {
  const { info } = mirror;
  let bytes = 0n;
  let hostMaps = 0;
  const host: HostIommu = {
    info,
    map: ({ iova }) => {
      bytes += iova.last - iova.start + 1n;
      hostMaps++;
    },
    unmap: ({ start, last }) => last - start + 1n,
    // Where the host will put it is not known beforehand.
    ...(info.windows !== undefined && { createWindow: () => ANYWHERE, removeWindow: () => {} }),
  };
  const raw = mirror.driver.raw.fork(how.headroom);
  const dry = mirror.copy(new Driver(raw, host, undefined), host, memory);
  let [pages, extents, ramSections] = [0n, 0, 0];
  let refusal: IommuError | undefined;
  const isPartial = how.isBounded && space.sections.some(({ region }) => isLarge(region));
  try {
    mirror.known.check(memory);
    for (const section of space.sections) {
      const { region } = section;
      dry.windows.open(section);
      if (region.kind === "ram" && mapRam(dry, section)) ramSections++;
      if (region.kind !== "iommu") continue;
      const unreached = outOfReach(section, info);
      if (unreached !== undefined) throw unreached;
      const delta = section.range.start - section.offsetWithinRegion;
      const range = mappable(section, mirror.page);
      if (range === undefined) continue;
      const notifier = new IommuNotifier({
        flags: IommuNotifierFlag.MAP,
        range: { start: range.start - delta, last: range.last - delta },
        runs,
        notify: (event) => dry.take(event, delta),
      });
      const told = replayed(region, notifier, isPartial && isLarge(region) ? BOUND : undefined);
      pages += told.pages;
      extents += told.extents;
    }
  } catch (error) {
    if (!(error instanceof IommuError)) throw error;
    refusal = error;
  } finally {
    raw.free();
  }
  const isOver = refusal?.code === "mapping-limit";
  const budget = info.maxMappings === undefined || isPartial || !(isOver || how.counts) ? undefined : {
    limit: info.maxMappings,
    headroom: how.headroom,
    needs: countMaps(space, memory === undefined ? {} : { memory }),
  };
  if (isOver && refusal !== undefined && budget !== undefined) {
    refusal = overBudget(space.name, info.name, budget, refusal);
  }
  return {
    pages,
    extents,
    ramSections,
    hostMaps,
    bytes,
    problems: dry.problems.kept,
    ...(budget !== undefined && { budget }),
    ...(refusal !== undefined && { refusal }),
  };
}

/** Replays a region to its end, or no further than `bound` steps. */
function replayed(region: IommuMemoryRegion, notifier: IommuNotifier, bound: number | undefined): ReplayProgress {
  const stepper = new ReplayStepper(region, notifier);
  // Not `using`, which JSR hands on as it is and Node.js before 24 cannot read.
  try {
    if (bound !== undefined) return stepper.step(bound);
    while (!stepper.step(Number.MAX_SAFE_INTEGER).done);
    return stepper.progress;
  } finally {
    stepper[Symbol.dispose]();
  }
}

function isLarge(region: TerminalRegion): boolean {
  return region.kind === "iommu" && region.size / region.minPageSize > LARGE;
}
