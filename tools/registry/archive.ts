/** Reads and writes the `.tar.gz` archives in which packages travel. */

/** The contents of files by their path in a package, which begins with a slash. */
export type Files = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

const BLOCK = 512;

/** Unpacks an archive. Throws for what is neither a file nor a folder, as a package may hold nothing else. */
export async function unpack(archive: Uint8Array<ArrayBuffer>): Promise<Files> {
  const tar = await through(archive, new DecompressionStream("gzip"));
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const text = (start: number, length: number): string =>
    new TextDecoder().decode(tar.subarray(start, start + length)).replace(/\0.*$/s, "");
  for (let at = 0; at + BLOCK <= tar.length && tar[at] !== 0;) {
    const prefix = text(at + 345, 155);
    const name = (prefix === "" ? "" : `${prefix}/`) + text(at, 100);
    const size = parseInt(text(at + 124, 12).trim(), 8);
    const kind = text(at + 156, 1);
    if (kind === "0" || kind === "") {
      files.set(name.replace(/^(?:\.?\/)?/, "/"), tar.slice(at + BLOCK, at + BLOCK + size));
    } else if (kind !== "5") {
      throw new Error(`Cannot unpack ${name}: it is neither a file nor a folder, but of kind ${kind}`);
    }
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}

/** Packs files below a folder: the same files give the same bytes. */
export async function pack(files: Files, folder: string): Promise<Uint8Array<ArrayBuffer>> {
  const blocks: Uint8Array<ArrayBuffer>[] = [];
  for (const [path, bytes] of [...files].sort(([a], [b]) => a < b ? -1 : 1)) {
    blocks.push(header(folder + path, bytes.length), bytes, new Uint8Array((BLOCK - bytes.length % BLOCK) % BLOCK));
  }
  blocks.push(new Uint8Array(2 * BLOCK));
  return await through(new Uint8Array(await new Blob(blocks).arrayBuffer()), new CompressionStream("gzip"));
}

function header(name: string, size: number): Uint8Array<ArrayBuffer> {
  if (name.length > 100) throw new Error(`Cannot pack ${name}: its path is longer than 100 characters`);
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string): unknown => new TextEncoder().encodeInto(text, block.subarray(at));
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  put(0, name);
  put(100, "0000644\0" + "0000000\0".repeat(2) + `${octal(size, 11)} ${octal(0, 11)} `);
  // The sum of the header's bytes, taken with spaces in its own place.
  put(148, " ".repeat(8) + "0");
  put(257, "ustar\x0000");
  put(148, `${octal(block.reduce((sum, byte) => sum + byte, 0), 6)}\0 `);
  return block;
}

async function through(
  bytes: Uint8Array<ArrayBuffer>,
  transform: CompressionStream | DecompressionStream,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(transform)).arrayBuffer());
}
