import { IommuError } from "@giommu/core";
import type { MappingBudget } from "./attach_report.ts";
import type { HostIommuInfo } from "./host_iommu.ts";

/** The most entries that one H_PUT_TCE_INDIRECT stores (PAPR+): the largest change that a Linux guest makes at once. */
const ONE_CALL = 512;

/** At most that part of the host's mappings is kept free, so that a small limit is of use at all. */
const PART = 64;

/**
 * How many mappings an attach leaves free for what the guest maps while the device runs.
 *
 * @param info The host.
 * @param asked What the container's maker wants; room for one large guest call unless given.
 */
export function headroomOf({ maxMappings = 0 }: HostIommuInfo, asked: number | undefined): number {
  return asked ?? Math.min(ONE_CALL, Math.floor(maxMappings / PART));
}

/**
 * Why an attach is refused that needs too many mappings: with what each policy would need, and what helps, best first.
 *
 * @param space What people call the address space.
 * @param host The host.
 * @param budget The numbers.
 * @param cause Which run was the first that did not fit.
 */
export function overBudget(space: string, host: HostIommuInfo, budget: MappingBudget, cause: IommuError): IommuError {
  const { limit, headroom, needs: { none, call, full } } = budget;
  const kept = headroom === 0 ? "" : `, keeps ${headroom} of them for what the guest maps later`;
  const counts = `one per page makes ${none}, one per guest call ${call}, one per run ${full}`;
  return new IommuError(
    "mapping-limit",
    `Cannot attach ${host.name} to ${space}: it has room for ${limit} mappings${kept}, and ${counts}`,
    { ranges: cause.ranges, remedy: remedyOf(budget, host.split), cause },
  );
}

function remedyOf({ limit, headroom, needs }: MappingBudget, split: HostIommuInfo["split"]): string {
  const room = `raise vfio_iommu_type1.dma_entry_limit to ${needs.none + headroom} or more`;
  const fitting = (["call", "full"] as const).filter((name) => needs[name] + headroom <= limit);
  const always = `use iommufd, which has no limit, ${room}`;
  if (fitting.length === 0) return `${always}, or let the guest use larger IOMMU pages`;
  const policies = fitting.map((name, at) => `"${name}" (${needs[name]}${at === 0 ? " mappings" : ""})`).join(" or ");
  const price = split === "atomic" ? "" : ", with allowDmaHoles or quiesce";
  return `${always}, let the guest use larger IOMMU pages, or coalesce neighbouring pages: ${policies}${price}`;
}
