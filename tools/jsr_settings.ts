/**
 * Tells JSR what it takes from no file: the description of each package, where it runs, and that its README is its front page.
 *
 *     JSR_TOKEN=… deno task jsr:settings
 *
 * The manifests of the packages say it. What JSR has right already is left alone, so that this can be run at every release.
 *
 * @module
 */

import { type Package, packages } from "./packages.ts";

/** What JSR keeps of a package. It takes one field per request. */
export interface Settings {
  readonly description: string;
  readonly runtimeCompat: Readonly<Record<string, boolean>>;
  readonly readmeSource: "readme" | "jsdoc";
}

/** What JSR is to be told of a package. */
export function settingsOf({ description, runtimeCompat }: Package): Settings {
  return { description, runtimeCompat: { ...runtimeCompat }, readmeSource: "readme" };
}

/**
 * Makes a package's settings in a registry what they have to be.
 *
 * @param jsr The registry's address, with a slash at its end.
 * @returns The fields that were changed.
 */
export async function applySettings(jsr: string, token: string, name: string, wanted: Settings): Promise<string[]> {
  const address = `${jsr}api/scopes/giommu/packages/${name}`;
  const found: Record<string, unknown> = await answered(await fetch(address));
  const changed: string[] = [];
  for (const [field, value] of Object.entries(wanted)) {
    if (JSON.stringify(sorted(found[field])) === JSON.stringify(sorted(value))) continue;
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    await answered(await fetch(address, { method: "PATCH", headers, body: JSON.stringify({ [field]: value }) }));
    changed.push(field);
  }
  return changed;
}

async function answered(response: Response): Promise<Record<string, unknown>> {
  const text = await response.text();
  if (!response.ok) throw new Error(`Cannot tell JSR settings: ${response.url} answered ${response.status}\n${text}`);
  return JSON.parse(text);
}

/** With its fields in one order, so that two of a kind have the same text. */
function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1);
}

if (import.meta.main) {
  const token = Deno.env.get("JSR_TOKEN");
  if (token === undefined || token === "") {
    console.error("Cannot tell JSR settings: JSR_TOKEN is not set; make a token at https://jsr.io/account/tokens");
    Deno.exit(1);
  }
  for (const entry of packages()) {
    const changed = await applySettings(
      Deno.env.get("JSR_URL") ?? "https://jsr.io/",
      token,
      entry.name,
      settingsOf(entry),
    );
    console.log(
      `${`@giommu/${entry.name}`.padEnd(20)} ${changed.length === 0 ? "as it should be" : changed.join(", ")}`,
    );
  }
}
