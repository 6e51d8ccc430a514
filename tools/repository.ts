/** Where the repository is, and which files are in it. */

import { fileURLToPath } from "node:url";

/** The checkout's root, without a slash at its end. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");

/** What tools and tests make: never an input of anything. */
const MADE = new Set([".git", "target", "coverage", "node_modules", "__pycache__"]);

/**
 * Lists the files at and below `start`, a path relative to `root`, as sorted relative paths with `/`.
 * A `start` that is not there has no files. Works on the disk, not on git's index: an archive has no git.
 */
export function filesBelow(start: string, root: string = ROOT): string[] {
  const found: string[] = [];
  const visit = (path: string): void => {
    const info = Deno.lstatSync(`${root}/${path}`);
    if (info.isFile) found.push(path);
    if (!info.isDirectory) return;
    for (const entry of Deno.readDirSync(`${root}/${path}`)) {
      if (!MADE.has(entry.name)) visit(path === "." ? entry.name : `${path}/${entry.name}`);
    }
  };
  try {
    visit(start);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found.sort();
}
