import { formatRange, hex } from "@giommu/core";
import type { RunOutcome } from "./hotplug_run.ts";
import { line, renderGuest, renderHotplugged } from "./render.ts";
import type { DmaReport, HotplugReport } from "./report.ts";
import { binarySize, count, counted, duration, type Style } from "./terminal.ts";

/** How many of a plan's problems people see. */
const SHOWN = 5;

/**
 * Writes the report of `giommu hotplug`.
 *
 * @param name The input's name.
 * @param report The report.
 * @param outcome What only the text needs.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderHotplug(
  name: string,
  report: HotplugReport,
  { pictures, notes }: Pick<RunOutcome, "pictures" | "notes">,
  style: Style,
): string {
  let text = renderGuest(name, report, pictures, notes, style) + renderPlan(report, style);
  const { commit: { hostMaps, hostUnmaps, nanoseconds }, dma } = report;
  if (report.hotplug.attached) {
    text += line("Attached", `${counted(hostMaps, "host map")} in ${duration(nanoseconds)}`);
  } else if (hostMaps + hostUnmaps > 0) {
    text += line("Undone", `${counted(hostMaps, "host map")}, ${counted(hostUnmaps, "host unmap")}`);
  }
  text += renderHotplugged(report, style);
  return dma === null ? text : text + renderDma(dma, style);
}

function renderPlan({ host, plan, error }: HotplugReport, style: Style): string {
  const most = host.maxMappings === null ? "" : `, ${counted(host.maxMappings, "mapping")} at most`;
  let text = line("Host", `${host.coalesce}; IOVA ${host.iovaRanges.map(formatRange).join(", ")}${most}`);
  text += line(
    "Plan",
    `${counted(plan.pages, "page")} in ${counted(plan.extents, "extent")}: ${counted(plan.hostMaps, "host map")}, `,
    `${binarySize(BigInt(plan.bytes))} pinned`,
  );
  const others = plan.problems.filter(({ message }) => message !== error?.message);
  for (const { message } of others.slice(0, SHOWN)) text += line("", style.dim(message));
  if (others.length > SHOWN) text += line("", style.dim(`and ${counted(others.length - SHOWN, "more problem")}`));
  return text;
}

function renderDma({ checked, agreed, refused, kinds, missed, differences }: DmaReport, style: Style): string {
  const isRight = agreed === checked && missed.length === 0;
  let text = line(
    "DMA",
    `${counted(checked, "access", "accesses")} of the device: `,
    (isRight ? style.good : style.bad)(`${count(agreed)} as the table says`),
    `, ${count(refused)} of them refused as they must be`,
  );
  const looked = Object.entries(kinds).filter(([, { checked }]) => checked > 0);
  for (let at = 0; at < looked.length; at += 4) {
    const part = looked.slice(at, at + 4).map(([kind, { pages, checked }]) =>
      `${kind} ${count(checked)} of ${count(pages)}`
    );
    text += line("", style.dim(part.join(", ")));
  }
  for (const kind of missed) text += line("", style.bad(`no ${kind} page was looked at`));
  for (const { iova, access, kinds, found } of differences) {
    text += line("", style.bad(`${access} at ${hex(iova)} (${kinds.join(", ")}): ${found}`));
  }
  return text;
}
