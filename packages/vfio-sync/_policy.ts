import { checkInteger, checkRange, IommuError } from "@giommu/core";
import { RawContainer } from "@giommu/core/wasm/container";
import { HOLES_REMEDY } from "./_refusal.ts";
import type { ContainerPolicy } from "./attach_report.ts";
import type { VfioContainerOptions } from "./container_options.ts";
import type { HostIommu } from "./host_iommu.ts";

/** How replays are cut: runs of one guest call are told apart only where each gets a mapping of its own. */
export function runsOf({ coalesce }: ContainerPolicy): "full" | "call" {
  return coalesce === "call" ? "call" : "full";
}

const POLICIES: readonly string[] = ["auto", "none", "call", "static", "full"];

/** What was asked for, on this host. Throws if that cannot be had. */
export function policyOf({ host, coalesce = "auto", allowDmaHoles, quiesce }: VfioContainerOptions): ContainerPolicy {
  const { split, name } = host.info;
  if (!POLICIES.includes(coalesce)) {
    throw new RangeError(`Cannot make a container: coalesce is ${String(coalesce)}, expected ${POLICIES.join(", ")}`);
  }
  const auto = split === "atomic" ? "full" : "none";
  const resolved = coalesce === "auto" || coalesce === "static" ? auto : coalesce;
  const holes = split === "atomic"
    ? "none"
    : quiesce !== undefined
    ? "quiesced"
    : allowDmaHoles === true
    ? "allowed"
    : "forbidden";
  if (holes === "forbidden" && resolved !== "none") {
    throw new IommuError(
      "dma-holes-not-allowed",
      `Cannot coalesce mappings (${coalesce}) on ${name}: it cannot unmap a part of one without taking all of it away`,
      { remedy: `leave coalesce at "auto"; or ${HOLES_REMEDY}` },
    );
  }
  return Object.freeze({ asked: coalesce, coalesce: resolved, split, holes });
}

/** The core's part of a container, with the host's limits checked. */
export function newRaw({ info }: HostIommu, policy: ContainerPolicy): RawContainer {
  if (
    typeof info.pageSizes !== "bigint" || BigInt.asUintN(64, info.pageSizes) !== info.pageSizes || info.pageSizes === 0n
  ) {
    throw new RangeError(`Cannot make a container: the page sizes of ${info.name} are ${String(info.pageSizes)}`);
  }
  if (info.maxMappings !== undefined) checkInteger("maxMappings", info.maxMappings);
  const ranges = new BigUint64Array(info.iovaRanges.length * 2);
  for (const [i, range] of info.iovaRanges.entries()) {
    const { start, last } = checkRange("iovaRanges", range);
    ranges.set([start, last], i * 2);
  }
  const features = (info.split === "atomic" ? 1 : 0) | (info.unmapWide ? 2 : 0) | (info.writeOnly ? 4 : 0) |
    (info.exchange === true ? 8 : 0);
  const coalesce = { none: 0, call: 1, full: 2 }[policy.coalesce];
  const holes = { none: 0, forbidden: 0, allowed: 1, quiesced: 2 }[policy.holes];
  return new RawContainer(info.pageSizes, ranges, info.maxMappings, features, coalesce, holes);
}
