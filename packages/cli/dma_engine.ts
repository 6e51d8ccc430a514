import type { Iova } from "@giommu/core";

/** A device that copies words of 8 bytes between the bus and itself, as told. */
export interface DmaEngine extends Disposable {
  /** How many pages of a kind are worth looking at, by what an access costs. */
  readonly pagesPerKind: number;
  /**
   * Reads a word that is not 0.
   *
   * @param iova Where; not over the end of a page.
   * @returns The word; `undefined` if the read did not arrive.
   */
  read(iova: Iova): Promise<bigint | undefined>;
  /**
   * Writes a word. Whether it arrives is for the caller to look at.
   *
   * @param iova Where; not over the end of a page.
   * @param value The word.
   */
  write(iova: Iova, value: bigint): Promise<void>;
}

/**
 * A word as bytes.
 *
 * @param word Any 64 bits.
 * @returns Eight bytes, the lowest first.
 */
export function bytesOf(word: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, word, true);
  return bytes;
}

/**
 * The word that bytes are.
 *
 * @param bytes Eight bytes, the lowest first.
 * @returns The word.
 */
export function wordOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}
