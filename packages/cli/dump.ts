import type { HostMapping } from "@giommu/vfio-sync";
import { isSameFile } from "./same_file.ts";
import { UsageError } from "./usage_error.ts";

/**
 * Writes the live host mappings to a file, as CSV or JSON by its name.
 *
 * @param path The file, ending in `.csv` or `.json`. It is replaced.
 * @param mappings The mappings, ascending.
 * @param input The input's path, which must not be replaced.
 * @throws {UsageError} If it cannot be written, or is the input.
 */
export function writeDump(path: string, mappings: Iterable<HostMapping>, input: string): void {
  if (isSameFile(path, input)) throw new UsageError(`--dump: ${path} is the input, which would be lost`);
  const rows = Array.from(mappings, ({ iova, gpa, perm }) => ({
    iova: `0x${iova.start.toString(16)}`,
    last: `0x${iova.last.toString(16)}`,
    gpa: `0x${gpa.toString(16)}`,
    perm: ["", "r", "w", "rw"][perm] ?? "",
  }));
  const text = /\.json$/i.test(path)
    ? `${JSON.stringify(rows, null, 2)}\n`
    : ["iova,last,gpa,perm", ...rows.map(({ iova, last, gpa, perm }) => `${iova},${last},${gpa},${perm}`), ""].join(
      "\n",
    );
  try {
    Deno.writeTextFileSync(path, text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`--dump: cannot write ${path}: ${why}`);
  }
}
