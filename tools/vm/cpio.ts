/** Writes the archives that a Linux kernel unpacks as its first root: "newc" of Linux's early-userspace/buffer-format. */

/** One entry of an archive. */
export interface CpioEntry {
  /** Its path, without a slash at the beginning. */
  readonly path: string;
  /** The bytes of a file; absent for a folder. */
  readonly bytes?: Uint8Array;
  /** Whether a file can be run. */
  readonly executable?: boolean;
}

const FOLDER = 0o040755;
const FILE = 0o100644;
const PROGRAM = 0o100755;

/** Packs entries; folders have to come before what is in them. Everything belongs to root. */
export function cpio(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const push = (bytes: Uint8Array): void => {
    const padding = -bytes.length & 3;
    chunks.push(bytes, new Uint8Array(padding));
    size += bytes.length + padding;
  };
  const all = [...entries, { path: "TRAILER!!!", bytes: new Uint8Array() }];
  for (const [index, entry] of all.entries()) {
    push(header(index + 1, entry));
    if (entry.bytes !== undefined) push(entry.bytes);
  }
  const archive = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    archive.set(chunk, at);
    at += chunk.length;
  }
  return archive;
}

function header(inode: number, { path, bytes, executable }: CpioEntry): Uint8Array {
  const name = new TextEncoder().encode(`${path}\0`);
  const mode = bytes === undefined ? FOLDER : executable ? PROGRAM : FILE;
  // inode, mode, uid, gid, links, time, size, four device numbers, length of the name, checksum
  const fields = [inode, mode, 0, 0, bytes === undefined ? 2 : 1, 0, bytes?.length ?? 0, 0, 0, 0, 0, name.length, 0];
  const text = "070701" + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  const head = new Uint8Array(text.length + name.length);
  head.set(new TextEncoder().encode(text));
  head.set(name, text.length);
  return head;
}
