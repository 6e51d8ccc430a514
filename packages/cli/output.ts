/**
 * Writes all of a text to standard output.
 *
 * @param text The text.
 */
export function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/**
 * Writes one JSON object: 64-bit values as hexadecimal strings, counts as numbers.
 *
 * @param value The object; its bigints are 64-bit values.
 */
export function writeJson(value: unknown): void {
  write(`${JSON.stringify(value, (_key, item) => typeof item === "bigint" ? `0x${item.toString(16)}` : item, 2)}\n`);
}
