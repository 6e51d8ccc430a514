/** Versions of packages: semantic versions without build metadata, which registries do not tell apart. */

/** A version, taken apart. */
interface Version {
  readonly numbers: readonly number[];
  /** What follows a hyphen, at its dots; empty for a release. */
  readonly pre: readonly string[];
}

/** Says whether a text is a version, as `1.2.3` and `1.2.3-rc.1` are. */
export function isVersion(text: string): boolean {
  return parse(text) !== undefined;
}

/**
 * Compares two versions by semantic versioning's precedence.
 *
 * @returns Less than 0 if `a` comes before `b`, more than 0 if it comes after it, 0 if they are the same.
 */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [parse(a), parse(b)];
  if (left === undefined || right === undefined) throw new TypeError(`Cannot compare ${a} and ${b}: one is no version`);
  for (const [index, number] of left.numbers.entries()) {
    const difference = number - (right.numbers[index] ?? 0);
    if (difference !== 0) return difference;
  }
  // A version that is only on its way comes before the version itself.
  if (left.pre.length === 0 || right.pre.length === 0) return right.pre.length - left.pre.length;
  for (let at = 0; at < Math.max(left.pre.length, right.pre.length); at++) {
    const difference = compareParts(left.pre[at], right.pre[at]);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Numbers by their size, before words, which go by their letters; the shorter of two that begin alike comes first. */
function compareParts(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined) return (a === undefined ? 0 : 1) - (b === undefined ? 0 : 1);
  const [left, right] = [/^\d+$/.test(a), /^\d+$/.test(b)];
  if (left && right) return Number(a) - Number(b);
  if (left !== right) return left ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

function parse(text: string): Version | undefined {
  const number = "(0|[1-9]\\d*)";
  const parts = new RegExp(`^${number}\\.${number}\\.${number}(?:-([\\dA-Za-z-]+(?:\\.[\\dA-Za-z-]+)*))?$`).exec(text);
  if (parts === null) return undefined;
  const pre = parts[4]?.split(".") ?? [];
  if (pre.some((part) => /^0\d+$/.test(part))) return undefined;
  return { numbers: parts.slice(1, 4).map(Number), pre };
}
