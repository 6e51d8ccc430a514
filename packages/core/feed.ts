import type { CoreMemory } from "./record_view.ts";

/** Something in the core that takes bytes. */
export interface RawSink {
  /** Makes room for bytes; returns where they go. */
  room(length: number): number;
}

/** The most bytes that cross at once: enough to make the crossing cheap, and little memory. */
const MOST = 1 << 20;

/**
 * Puts the beginning of some bytes into the core.
 *
 * @param memory The memory of the module that the sink is in.
 * @param sink What is to read them.
 * @param bytes The bytes.
 * @returns How many were put there; all of them unless they are very many.
 */
export function put(memory: CoreMemory, sink: RawSink, bytes: Uint8Array): number {
  const piece = bytes.length > MOST ? bytes.subarray(0, MOST) : bytes;
  // Making room may move the memory: only then is it looked at.
  const pointer = sink.room(piece.length);
  new Uint8Array(memory().buffer, pointer, piece.length).set(piece);
  return piece.length;
}
