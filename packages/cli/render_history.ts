import { hex } from "@giommu/core";
import type { AddressHistory, HistoryMoment } from "@giommu/doctor";
import { paragraph } from "./render_doctor.ts";
import { count, counted, type Style } from "./terminal.ts";

/** The most moments that are shown: as many at the beginning as at the end. */
const SHOWN = 40;
const PERMISSIONS = ["none", "r", "w", "rw"];

/**
 * Writes the history of an address.
 *
 * @param history The history.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderHistory({ iova, count: all, moments }: AddressHistory, style: Style): string {
  let text = `\n${paragraph("Address", `${hex(iova)}: ${counted(all, "moment")}`, style.bold)}`;
  const half = SHOWN / 2;
  for (const [at, moment] of moments.entries()) {
    if (moments.length > SHOWN && at === half) {
      text += paragraph("", `... ${counted(moments.length - SHOWN, "moment")} left out (--json has them)`, style.dim);
    }
    if (moments.length > SHOWN && at >= half && at < moments.length - half) continue;
    const [who, what, bad] = said(moment);
    text += paragraph(`  ${who}`, `line ${count(moment.line)}${others(moment)}: ${what}`, bad ? style.bad : undefined);
  }
  return text;
}

function others({ kernel, stderr }: HistoryMoment): string {
  const parts = [
    ...(kernel === undefined ? [] : [`kernel ${count(kernel)}`]),
    ...(stderr === undefined ? [] : [`stderr ${count(stderr)}`]),
  ];
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}

function entryText(entry: bigint): string {
  return (entry & 3n) === 0n ? "nothing" : `${hex(entry & ~3n)} ${PERMISSIONS[Number(entry & 3n)]}`;
}

/** Who did what, and whether that is bad. */
function said(moment: HistoryMoment): [who: string, what: string, bad?: boolean] {
  const refused = (errno: number | null) => errno === null ? "" : ` (errno -${errno})`;
  switch (moment.what) {
    case "guest":
      return [
        "guest",
        `${moment.call}: ${moment.entry === undefined ? "to what is not logged" : entryText(moment.entry)}`,
      ];
    case "learned":
      return ["guest", `the entry is seen: ${entryText(moment.entry)}`];
    case "told":
      return ["QEMU", `${moment.map ? "map" : "unmap"} of ${hex(moment.start)}..${hex(moment.last)}`];
    case "host-mapped":
      return ["host", moment.paddr === undefined ? "mapped" : `mapped to ${hex(moment.paddr)}`];
    case "host-refused":
      return ["host", `refused to map${refused(moment.errno)}`, true];
    case "host-unmapped":
      return ["host", `unmapped ${counted(moment.bytes, "byte")}`];
    case "nothing-to-unmap":
      return ["host", "had nothing to unmap"];
    case "host-kept":
      return ["host", `kept it though it was to be unmapped${refused(moment.errno)}`, true];
    case "attached":
    case "detached": {
      const window = typeof moment.window === "bigint" ? hex(moment.window) : moment.window;
      return ["QEMU", `a container ${moment.what === "attached" ? "got" : "lost"} the window ${window}`];
    }
    case "fault":
      return ["device", `was refused (flags ${hex(moment.flags)})`, true];
  }
}
