import { UsageError } from "./usage_error.ts";

/** Where in a log `giommu replay` attaches the container. */
export type Where =
  /** After the line with this number, from 1. */
  | { readonly kind: "line"; readonly line: number }
  /** At the last event not later than this timestamp of the log, in microseconds. */
  | { readonly kind: "time"; readonly microseconds: bigint }
  /** After this share of the uncompressed bytes. */
  | { readonly kind: "percent"; readonly percent: number }
  /** At the log's own `count`-th VFIO hotplug, from 1. */
  | { readonly kind: "hotplug"; readonly count: number }
  /** At the end. */
  | { readonly kind: "end" }
  /** At the first hotplug if the log has one, else at the end. */
  | { readonly kind: "default" };

/**
 * Reads the value of `--at`.
 *
 * @param text What was typed; `undefined` where the option is absent.
 * @returns Where to attach.
 * @throws {UsageError} If it is none of the forms.
 */
export function parseWhere(text: string | undefined): Where {
  if (text === undefined) return { kind: "default" };
  if (text === "end") return { kind: "end" };
  if (text === "hotplug") return { kind: "hotplug", count: 1 };
  const hotplug = /^hotplug:([1-9][0-9]{0,8})$/.exec(text);
  if (hotplug !== null) return { kind: "hotplug", count: Number(hotplug[1]) };
  const percent = /^([0-9]+(?:\.[0-9]+)?)%$/.exec(text);
  if (percent !== null && Number(percent[1]) <= 100) return { kind: "percent", percent: Number(percent[1]) };
  const time = /^([0-9]{1,12})\.([0-9]{1,9})$/.exec(text);
  if (time !== null) {
    const fraction = (time[2] ?? "").padEnd(6, "0").slice(0, 6);
    return { kind: "time", microseconds: BigInt(time[1] ?? "0") * 1_000_000n + BigInt(fraction) };
  }
  if (/^[0-9]{1,15}$/.test(text) && Number(text) > 0) return { kind: "line", line: Number(text) };
  throw new UsageError(
    `--at: '${text}' is not a line (1234), a timestamp (1795217436.442317), a share (50%), end, hotplug or hotplug:2`,
  );
}
