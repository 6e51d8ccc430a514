import { fileURLToPath } from "node:url";

/** The path of a file, named relative to this folder. */
export function fromFileUrl(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}

/** The path of a bundled recording. */
export function recording(name: string): string {
  return fromFileUrl(`../data/logs/${name}`);
}
