/** Where bytes come from. */
export interface ByteSource {
  /** What messages call it. */
  readonly name: string;
  /** How many bytes there are in all, where that can be known. */
  readonly size: number | undefined;
  /** The next bytes, valid until the next call; `undefined` at the end. */
  read(): Promise<Uint8Array | undefined>;
  /** Ends reading. */
  close(): Promise<void>;
  /** The same bytes from the beginning, where they can be had again. */
  again?(): Promise<ByteSource>;
}

/** Bytes per read of a file. */
const CHUNK = 1 << 20;

/** A file. */
export async function fileSource(path: string | URL): Promise<ByteSource> {
  const file = await Deno.open(path, { read: true });
  const { isFile, size } = await file.stat();
  const buffer = new Uint8Array(CHUNK);
  return {
    name: String(path),
    size: isFile ? size : undefined,
    async read() {
      const count = await file.read(buffer);
      return count === null ? undefined : buffer.subarray(0, count);
    },
    close() {
      file.close();
      return Promise.resolve();
    },
    ...(isFile && { again: () => fileSource(path) }),
  };
}

/** A stream. */
export function streamSource(name: string, stream: ReadableStream<Uint8Array>, size?: number): ByteSource {
  const reader = stream.getReader();
  return {
    name,
    size,
    async read() {
      const { value, done } = await reader.read();
      return done ? undefined : value;
    },
    async close() {
      await reader.cancel();
    },
  };
}

/** Bytes that are there. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  let at = 0;
  return {
    name: `${bytes.length} bytes`,
    size: bytes.length,
    read() {
      const piece = bytes.subarray(at, at + CHUNK);
      at += piece.length;
      return Promise.resolve(piece.length === 0 ? undefined : piece);
    },
    close: () => Promise.resolve(),
    again: () => Promise.resolve(bytesSource(bytes)),
  };
}

/** A blob. */
export function blobSource(blob: Blob): ByteSource {
  const source = streamSource(`${blob.size} bytes`, blob.stream(), blob.size);
  return { ...source, again: () => Promise.resolve(blobSource(blob)) };
}
