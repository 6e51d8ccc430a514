/** What a new version changes in the files of the repository. */

import { packages } from "../packages.ts";
import { ROOT } from "../repository.ts";
import { compareVersions, isVersion } from "./version.ts";

/** Why there can be no release. */
export class ReleaseRefused extends Error {}

/** The new texts of files by their path. */
export type Edits = ReadonlyMap<string, string>;

/**
 * Makes every edit, in memory.
 *
 * @param version The new version.
 * @param date Of the release, as `2026-11-26`.
 * @throws {ReleaseRefused} If that is no version or none that may follow, or a file is not as it has to be.
 */
export function releaseEdits(version: string, date: string): Edits {
  if (!isVersion(version)) {
    throw new ReleaseRefused(`Cannot release ${version || "nothing"}: it is no version, as 1.2.3 and 1.2.3-rc.1 are`);
  }
  const all = packages();
  const [current, ...others] = [...new Set(all.map((entry) => entry.version))];
  if (current === undefined || others.length > 0) {
    throw new ReleaseRefused(
      `Cannot release ${version}: the packages differ in version: ${[current, ...others].join(", ")}`,
    );
  }
  if (compareVersions(version, current) <= 0) {
    throw new ReleaseRefused(`Cannot release ${version}: the packages are at ${current} already`);
  }
  const edits = new Map<string, string>();
  for (const { folder } of all) {
    edit(edits, `${folder}/deno.json`, `"version": "${current}"`, `"version": "${version}"`);
  }
  edits.set("Cargo.toml", workspace(read("Cargo.toml"), current, version));
  edits.set("Cargo.lock", lock(read("Cargo.lock"), current, version));
  edits.set("CHANGELOG.md", changelog(read("CHANGELOG.md"), version, date));
  return edits;
}

function edit(edits: Map<string, string>, path: string, from: string, to: string): void {
  const text = read(path);
  if (text.split(from).length !== 2) throw new ReleaseRefused(`Cannot edit ${path}: ${from} is not there once`);
  edits.set(path, text.replace(from, to));
}

/** The version of all crates, and that of crates which name each other by path and version. */
function workspace(text: string, from: string, to: string): string {
  const own = text.replace(/^(\[workspace\.package\]\n(?:(?!\[).*\n)*?version = )"(.*)"$/m, (all, before, version) => {
    return version === from ? `${before}"${to}"` : all;
  });
  if (own === text) throw new ReleaseRefused(`Cannot edit Cargo.toml: its workspace is not at ${from}`);
  return own.split("\n").map((line) =>
    /\bpath = "core-rs\//.test(line) ? line.replace(/\bversion = "[^"]*"/, `version = "${to}"`) : line
  ).join("\n");
}

/** The entries of our crates, which are the ones without a source. */
function lock(text: string, from: string, to: string): string {
  return text.replaceAll(
    /^(\[\[package\]\]\nname = "giommu-[^"]*"\nversion = )"([^"]*)"$/gm,
    (all, before, version) => version === from ? `${before}"${to}"` : all,
  );
}

/** What is unreleased becomes the version's. */
function changelog(text: string, version: string, date: string): string {
  const heading = "## [Unreleased]\n";
  const [before, after, ...more] = text.split(heading);
  if (before === undefined || after === undefined || more.length > 0) {
    throw new ReleaseRefused("Cannot edit CHANGELOG.md: it has not one heading [Unreleased]");
  }
  const notes = after.split(/^## /m)[0] ?? "";
  if (!/^- /m.test(notes)) throw new ReleaseRefused("Cannot release: CHANGELOG.md names nothing that is unreleased");
  return `${before}${heading}\n## [${version}] - ${date}\n${after}`;
}

function read(path: string): string {
  return Deno.readTextFileSync(`${ROOT}/${path}`);
}
