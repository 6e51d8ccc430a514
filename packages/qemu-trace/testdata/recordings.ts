/** The path of a recording that is bundled for tests. */
export function recording(name: string): URL {
  return new URL(`../../../tests/data/logs/${name}`, import.meta.url);
}

/** The text of a recording. */
export async function recorded(name: string): Promise<string> {
  using file = await Deno.open(recording(name), { read: true });
  return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
}

/** Bytes of text. */
export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** Bytes as a .gz. */
export async function deflated(plain: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([plain]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
