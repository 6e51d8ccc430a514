import { hex } from "@giommu/core";
import { line, renderDifference, renderError, renderInput, renderTables } from "./render.ts";
import type { DmaReport, HotplugReport } from "./report.ts";
import { binarySize, count, counted, duration, type Style } from "./terminal.ts";

/**
 * Writes the result of `giommu hotplug`.
 *
 * @param name The input's name.
 * @param report The result.
 * @param policy The host, and how neighbouring pages share its maps.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderHotplug(name: string, report: HotplugReport, policy: string, style: Style): string {
  const { plan, commit, after, verify, dma, error } = report;
  let text = renderInput(name, report.input, style) + renderTables(report.tables, new Map(), style);
  text += line(
    "Plan",
    `${counted(plan.pages, "page")} in ${counted(plan.extents, "extent")}: ${counted(plan.hostMaps, "host map")}, `,
    `${binarySize(BigInt(plan.bytes))} pinned (${policy})`,
  );
  for (const problem of plan.problems) {
    if (problem.message !== error?.message) text += line("", style.dim(problem.message));
  }
  if (commit !== null) {
    text += line("Attached", `${counted(commit.hostMaps, "host map")} in ${duration(commit.nanoseconds)}`);
  }
  if (after !== null) {
    const holes = after.holes === 0 ? "" : style.bad(`, ${counted(after.holes, "hole")}`);
    text += line(
      "Then",
      `${counted(after.events, "log event")}: ${counted(after.hostMaps, "host map")}, `,
      `${counted(after.hostUnmaps, "host unmap")}${holes}`,
    );
  }
  if (error !== undefined) text += renderError(error, style);
  if (verify !== null) {
    const wrong = verify.missing + verify.stale + verify.differing;
    text += line(
      "Verified",
      `${counted(verify.guestPages, "guest page")}, ${counted(verify.hostPages, "host page")}`,
      wrong === 0 ? style.good(": nothing missing, stale or different") : style.bad(
        `: ${count(verify.missing)} missing, ${count(verify.stale)} stale, ${count(verify.differing)} different`,
      ),
    );
    for (const difference of verify.differences) text += line("", style.bad(renderDifference(difference)));
  }
  return dma === null ? text : text + renderDma(dma, style);
}

function renderDma({ checked, agreed, refused, kinds, missed, wrong }: DmaReport, style: Style): string {
  const sample = Object.entries(kinds).map(([kind, pages]) => `${kind} ${pages}`).join(", ");
  const mark = agreed === checked && missed.length === 0 && checked > 0 ? style.good : style.bad;
  let text = line(
    "DMA",
    mark(`${counted(agreed, "access", "accesses")} of ${count(checked)} as the table says`),
    `, ${count(refused)} of them refused (pages: ${sample === "" ? "none" : sample})`,
  );
  if (missed.length > 0) text += line("", style.bad(`not checked: ${missed.join(", ")}`));
  for (const { iova, kind, access } of wrong) {
    text += line("", style.bad(`${access} at ${hex(iova)} (${kind}) went wrong`));
  }
  return text;
}
