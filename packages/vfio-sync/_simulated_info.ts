import { checkInteger, checkRange, checkU64 } from "@giommu/core";
import { lowestBit } from "./_arithmetic.ts";
import { checkArray, checkSplit, checkType } from "./_checks.ts";
import type { HostIommuInfo } from "./host_iommu.ts";
import { HOST_RULES } from "./host_rules.ts";
import type { SimulatedHostOptions } from "./simulated_host.ts";

/** What a host tells of itself: by the rules, and what differs from them. */
export function simulatedInfo(options: SimulatedHostOptions): HostIommuInfo {
  const { rules = "none", pageSize, name, split, unmapWide, writeOnly } = options;
  checkType("name", name, "string");
  checkSplit(split);
  checkType("unmapWide", unmapWide, "boolean");
  checkType("writeOnly", writeOnly, "boolean");
  checkArray("iovaRanges", options.iovaRanges ?? []);
  if (!Object.hasOwn(HOST_RULES, rules)) {
    throw new RangeError(`Cannot simulate a host: there are no rules ${JSON.stringify(rules)}`);
  }
  const base: HostIommuInfo = HOST_RULES[rules];
  if (pageSize !== undefined && (checkU64("pageSize", pageSize) === 0n || lowestBit(pageSize) !== pageSize)) {
    throw new RangeError(`Cannot simulate a host: its page size ${pageSize} is no power of two`);
  }
  const iovaRanges = (options.iovaRanges ?? base.iovaRanges).map((range) => checkRange("iovaRanges", range));
  const maxMappings = options.maxMappings ?? base.maxMappings;
  return Object.freeze({
    name: name ?? base.name,
    pageSizes: pageSize ?? base.pageSizes,
    iovaRanges: Object.freeze(iovaRanges),
    ...(maxMappings !== undefined && { maxMappings: checkInteger("maxMappings", maxMappings) }),
    split: split ?? base.split,
    unmapWide: unmapWide ?? base.unmapWide,
    writeOnly: writeOnly ?? base.writeOnly,
    ...(base.exchange === true && { exchange: true }),
    ...(base.peerToPeer === true && { peerToPeer: true }),
  });
}
