/** Removes what a WebAssembly module carries only for debuggers. */

/**
 * Returns `module` without its custom sections: names, producers, target features.
 * Cargo's `strip` would do it too early, as wasm-bindgen reads the features to choose its calling convention
 * (without them results go through memory: 2.5 times slower for a call that returns an optional bigint).
 */
export function withoutCustomSections(module: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const header = 8;
  const kept: Uint8Array[] = [module.subarray(0, header)];
  for (let at = header; at < module.length;) {
    const [size, contents] = unsignedLeb128(module, at + 1);
    const end = contents + size;
    if (end > module.length) {
      throw new RangeError(`Cannot read section at ${at}: it ends at ${end} of ${module.length}`);
    }
    if (module[at] !== 0) kept.push(module.subarray(at, end));
    at = end;
  }
  const whole = new Uint8Array(kept.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of kept) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function unsignedLeb128(bytes: Uint8Array, start: number): [value: number, next: number] {
  let value = 0;
  for (let at = start, factor = 1;; at++, factor *= 128) {
    const byte = bytes[at];
    if (byte === undefined) throw new RangeError(`Cannot read number at ${start}: the module ends inside it`);
    value += (byte & 127) * factor;
    if (byte < 128) return [value, at + 1];
  }
}
