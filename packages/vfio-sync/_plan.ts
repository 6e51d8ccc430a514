import { IommuError } from "@giommu/core";
import type { AddressSpace } from "@giommu/memory-api";
import { replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { Driver } from "./_driver.ts";
import type { Mirror } from "./_mirror.ts";
import { MAPPING_LIMIT_REMEDY } from "./_refusal.ts";
import { mapRam } from "./_ram_section.ts";
import type { AttachPlan } from "./attach_report.ts";
import { countMaps } from "./count_maps.ts";
import type { HostIommu } from "./host_iommu.ts";

/**
 * Tries an attach out on a copy of the container's state, with a host that takes everything: whatever the limits
 * forbid is found before the first call on the real one.
 *
 * @param mirror Whose state and limits count; nothing of it is changed.
 * @param space What would be attached.
 * @param memory System memory.
 * @param runs How replays are cut.
 */
export function planAttach(
  mirror: Mirror,
  space: AddressSpace,
  memory: AddressSpace | undefined,
  runs: "full" | "call",
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
  };
  const raw = mirror.driver.raw.fork();
  const dry = mirror.copy(new Driver(raw, host, undefined), memory);
  let [pages, extents, ramSections] = [0n, 0, 0];
  let refusal: IommuError | undefined;
  try {
    for (const section of space.sections) {
      const { region, range, offsetWithinRegion: start } = section;
      if (region.kind === "ram" && mapRam(dry, section)) ramSections++;
      if (region.kind !== "iommu") continue;
      const delta = range.start - start;
      const notifier = new IommuNotifier({
        flags: IommuNotifierFlag.MAP,
        range: { start, last: range.last - delta },
        runs,
        notify: (event) => dry.take(event, delta),
      });
      const told = replay(region, notifier);
      pages += told.pages;
      extents += told.extents;
    }
  } catch (error) {
    if (!(error instanceof IommuError)) throw error;
    refusal = error.code === "mapping-limit" ? tooMany(mirror, space, memory, error) : error;
  } finally {
    raw.free();
  }
  return {
    pages,
    extents,
    ramSections,
    hostMaps,
    bytes,
    problems: dry.problems.kept,
    ...(refusal !== undefined && { refusal }),
  };
}

/** The same refusal with the numbers of the whole: one run that is too much tells little. */
function tooMany(
  { info }: Mirror,
  space: AddressSpace,
  memory: AddressSpace | undefined,
  error: IommuError,
): IommuError {
  const { none, call, full } = countMaps(space, memory === undefined ? {} : { memory });
  const counts = `one per page makes ${none}, one per guest call ${call}, one per run ${full}`;
  const message = `Cannot map ${space.name}: ${info.name} has room for ${info.maxMappings} mappings, and ${counts}`;
  return new IommuError(error.code, message, { ranges: error.ranges, remedy: MAPPING_LIMIT_REMEDY, cause: error });
}
