/**
 * Whether two paths name one file that is there, also by links.
 *
 * @param path A path.
 * @param other Another.
 * @returns `false` too where one is not there, or may not be looked at.
 */
export function isSameFile(path: string, other: string): boolean {
  try {
    if (Deno.realPathSync(path) === Deno.realPathSync(other)) return true;
    const [one, two] = [Deno.statSync(path), Deno.statSync(other)];
    return one.ino !== null && one.ino === two.ino && one.dev === two.dev;
  } catch {
    return false;
  }
}
