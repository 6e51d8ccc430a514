import { Numbers } from "@giommu/core/wasm";
import { hex } from "@giommu/core";
import { RawDoctor } from "@giommu/core/wasm/doctor";
import { PROOFS } from "./_raw_finding.ts";
import type { AddressHistory, HistoryEvent, HistoryMoment } from "./history.ts";

const NOT_KNOWN = 0xffff_ffff_ffff_ffffn;

/** The history of an address in the core's numbers. */
export function historyOf(iova: bigint, list: BigUint64Array, raw: RawDoctor): AddressHistory {
  const rest = new Numbers(list);
  const count = rest.number();
  const moments: HistoryMoment[] = [];
  while (rest.more) {
    const [line, code, kind] = [rest.number(), rest.number(), rest.number()];
    const [value, more] = [rest.big(), rest.big()];
    const [kernel, stderr] = [rest.number(), rest.number()];
    moments.push({
      ...event(code, kind, value, more, raw),
      line,
      ...(kernel !== 0 && { kernel }),
      ...(stderr !== 0 && { stderr }),
    });
  }
  return { iova, count, moments };
}

/** What happened, by the number of `Moment` in core-rs/crates/core/src/doctor/history.rs. */
function event(code: number, kind: number, value: bigint, more: bigint, raw: RawDoctor): HistoryEvent {
  const known = value === NOT_KNOWN ? undefined : value;
  const errno = Number(BigInt.asIntN(64, value));
  const refused = { errno: errno > 0 ? errno : null, proof: PROOFS[Number(more)] ?? "derived" };
  switch (code) {
    case 0:
      return {
        what: "guest",
        call: RawDoctor.kindName(kind) ?? "",
        ...(more !== 0n && { liobn: more }),
        ...(known !== undefined && { entry: known }),
      };
    case 1:
      return { what: "learned", entry: value };
    case 2:
    case 3:
      return { what: "told", map: code === 2, start: value, last: more };
    case 4:
      return { what: "host-mapped", ...(known !== undefined && { paddr: known }) };
    case 5:
      return { what: "host-refused", ...refused };
    case 6:
      return { what: "host-unmapped", bytes: value };
    case 7:
      return { what: "nothing-to-unmap" };
    case 8:
      return { what: "host-kept", ...refused };
    case 9:
    case 10: {
      const window = value >> 32n === 0n ? value : raw.regionName(value) ?? hex(value);
      return { what: code === 9 ? "attached" : "detached", window };
    }
    default:
      return { what: "fault", flags: value };
  }
}
