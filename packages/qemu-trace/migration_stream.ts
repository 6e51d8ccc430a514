import type { Iova } from "@giommu/core";
import { checkInteger, IommuError } from "@giommu/core";
import { put } from "@giommu/core/wasm";
import { memory, RawMigrationReader } from "@giommu/core/wasm/log";
import type { TceTable } from "@giommu/spapr-tce";
import { tableFromRaw } from "@giommu/spapr-tce/raw";
import { list } from "./_findings.ts";
import { type InputSource, openInput, TraceInput } from "./input.ts";

/** One table as a migration stream holds it. */
export interface StreamTable {
  /** Its LIOBN. */
  readonly liobn: number;
  /** How many entries it has; 0 for a window that is not in use. */
  readonly entries: number;
  /** The bus address of entry 0. */
  readonly busOffset: Iova;
  /** The page size of an entry, as a power of two; 0 for a window that is not in use. */
  readonly pageShift: number;
  /** Entries with a permission. */
  readonly mapped: number;
  /** Entries that are not 0. */
  readonly stored: number;
  /** Whether a VIO device bypasses it. */
  readonly bypass: boolean;
  /** Whether it is a bridge's default window, where the stream says so. */
  readonly defaultWindow?: boolean;
}

/** The core's reader of a stream; not exported by the package. */
export let rawStream: (stream: MigrationStream) => RawMigrationReader;

/**
 * The TCE tables of a QEMU migration stream.
 *
 * A stream does not say how long its sections are, so the sections of tables are found by their header, and proven by what must
 * be equal in them: LIOBN and instance, number of entries and place of the footer, numbers of footer and header. What is not
 * proven is not taken. Memory holds the tables, not the stream.
 *
 * @example
 * ```ts
 * import { MigrationStream } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * using stream = new MigrationStream();
 * stream.feed(new TextEncoder().encode("QEVM, and nothing else"), true);
 * assertEquals([stream.tables.length, stream.cut], [0, []]);
 * ```
 */
export class MigrationStream implements Disposable {
  #raw: RawMigrationReader | undefined = new RawMigrationReader();

  static {
    rawStream = (stream) => stream.#live();
  }

  /** The tables found so far, by ascending LIOBN. */
  get tables(): readonly StreamTable[] {
    return list(this.#live().tables(), (rest) => {
      const table = {
        liobn: rest.number(),
        entries: rest.number(),
        busOffset: rest.big(),
        pageShift: rest.number(),
        mapped: rest.number(),
        stored: rest.number(),
        bypass: rest.number() === 1,
      };
      const defaultWindow = rest.number();
      return defaultWindow === 2 ? table : { ...table, defaultWindow: defaultWindow === 1 };
    });
  }

  /** Bytes read, after inflating. */
  get bytes(): number {
    return Number(this.#live().counts()[0] ?? 0n);
  }

  /** How many sections began like one of a table and were none, or were damaged. */
  get unsound(): number {
    return Number(this.#live().counts()[1] ?? 0n);
  }

  /** The LIOBNs of the sections that were not at their end when the stream was. */
  get cut(): readonly number[] {
    return Array.from(this.#live().cut());
  }

  /**
   * Reads on.
   *
   * @param bytes The next bytes.
   * @param last Whether no bytes follow.
   * @throws {IommuError} `"disposed"` if it was disposed.
   */
  feed(bytes: Uint8Array, last = false): void {
    const raw = this.#live();
    let rest = bytes;
    do {
      const length = put(memory, raw, rest);
      rest = rest.subarray(length);
      raw.feed(length, last && rest.length === 0);
    } while (rest.length > 0);
  }

  /**
   * A handle on a table.
   *
   * @param liobn The table.
   * @returns The table, which the caller disposes of; `undefined` if the stream has none, or the window is not in use.
   */
  table(liobn: number): TceTable | undefined {
    const raw = this.#live().table(checkInteger("liobn", liobn));
    return raw && tableFromRaw(raw, memory);
  }

  /** Frees the tables that were not handed out; twice is fine. */
  [Symbol.dispose](): void {
    const raw = this.#raw;
    this.#raw = undefined;
    raw?.free();
  }

  #live(): RawMigrationReader {
    if (this.#raw === undefined) throw new IommuError("disposed", "Cannot use MigrationStream: it was disposed");
    return this.#raw;
  }
}

/**
 * Reads the tables of a QEMU migration stream.
 *
 * @param source Where it comes from: a path, bytes, a stream, or an input that is open already. A .gz is inflated.
 * @returns The tables. The caller disposes of them.
 * @throws {IommuError} `"bad-input"` if the source cannot be read, or does not begin as a migration stream does.
 *
 * @example
 * ```ts
 * import { readMigrationStream } from "@giommu/qemu-trace";
 * import { assertRejects } from "@std/assert";
 *
 * await assertRejects(() => readMigrationStream(new Uint8Array([1, 2, 3])), Error, "no migration stream");
 * ```
 */
export async function readMigrationStream(source: InputSource | TraceInput): Promise<MigrationStream> {
  const input = source instanceof TraceInput ? source : await openInput(source);
  const stream = new MigrationStream();
  try {
    if (input.kind !== "stream") {
      throw new IommuError("bad-input", `Cannot read ${input.name}: it is no migration stream of QEMU`);
    }
    for (let bytes = await input.read(); bytes !== undefined; bytes = await input.read()) stream.feed(bytes);
    stream.feed(new Uint8Array(), true);
    return stream;
  } catch (error) {
    stream[Symbol.dispose]();
    throw error;
  } finally {
    if (input !== source) await input[Symbol.asyncDispose]();
  }
}
