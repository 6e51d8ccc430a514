import { IommuError } from "@giommu/core";
import {
  type MigrationStream,
  openInput,
  readMigrationStream,
  RebuiltMachine,
  type TraceInput,
} from "@giommu/qemu-trace";
import { Progress } from "./progress.ts";
import type { Pictures, TablePicture } from "./render.ts";
import type { DisagreementReport, InputReport, ProblemsReport, TableReport } from "./report.ts";
import { counted } from "./terminal.ts";
import type { InputOptions } from "./typed_arguments.ts";
import { UsageError } from "./usage_error.ts";

/** One input being read: the machine that is rebuilt from it, and how far it is. */
export class Session implements AsyncDisposable {
  /** Where the bytes come from. */
  readonly input: TraceInput;
  /** What is rebuilt from them. */
  readonly machine: RebuiltMachine;
  /** The stream, where the input is one and no log. */
  readonly stream: MigrationStream | undefined;
  /** Shows how far the work is, where a person looks at it. */
  readonly progress: Progress;

  private constructor(input: TraceInput, machine: RebuiltMachine, stream: MigrationStream | undefined) {
    this.input = input;
    this.machine = machine;
    this.stream = stream;
    this.progress = new Progress(Deno.stderr.isTerminal(), input.size);
  }

  /**
   * Opens an input; a migration stream is read whole.
   *
   * @param options The input and the geometries that it may not tell.
   * @returns The session. The caller disposes of it.
   * @throws {IommuError} `"bad-input"` if it cannot be read.
   * @throws {UsageError} If it is a stream without tables, or one that was cut.
   */
  static async open({ input: source, windows }: InputOptions): Promise<Session> {
    const input = await openInput(source);
    let stream: MigrationStream | undefined;
    try {
      if (input.kind === "stream") stream = await readStream(input);
      return new Session(input, new RebuiltMachine({ windows, ...(stream && { stream }) }), stream);
    } catch (error) {
      stream?.[Symbol.dispose]();
      await input[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What messages call the input: the last part of its path. */
  get name(): string {
    return this.input.name.split(/[\\/]/).at(-1) ?? this.input.name;
  }

  /**
   * Reads on to the next stop.
   *
   * @returns Why it stopped; a stream is at its end at once.
   */
  async read(): ReturnType<RebuiltMachine["read"]> {
    if (this.stream !== undefined) return "end";
    const stop = await this.machine.read(this.input, {
      onProgress: () => this.progress.update(this.input.bytesRead, this.machine.counts.lines),
    });
    this.progress.clear();
    return stop;
  }

  /**
   * Reads the rest without looking at it: it still counts.
   *
   * @throws {UsageError} If there was no event in all of the log.
   */
  async readRest(): Promise<void> {
    this.machine.stopAt({});
    while (await this.read() !== "end");
    const { events, lines } = this.machine.counts;
    if (this.stream === undefined && events === 0) {
      throw new UsageError(
        `${this.name} holds none of QEMU's IOMMU events in ${lines} lines; record them with -trace 'spapr_iommu_*'`,
      );
    }
  }

  /** What was read so far. */
  get counts(): InputReport {
    const { lines, events, unparsed } = this.machine.counts;
    return { bytes: this.input.bytesRead, lines, events, unparsed };
  }

  /** The tables as they are now. */
  get tables(): TableReport[] {
    return this.machine.tables.map(({ liobn, pageShift, busOffset, entries, mapped, unknown }) => ({
      liobn: BigInt(liobn),
      pageShift,
      busOffset,
      entries,
      mapped,
      unknown,
    }));
  }

  /** Where the tables are mapped now. */
  get pictures(): Pictures {
    const pictures = new Map<bigint, TablePicture>();
    for (const { liobn } of this.machine.tables) {
      const mapped = [...this.machine.mappedRuns(liobn)];
      pictures.set(BigInt(liobn), { mapped, unknown: [...this.machine.unknownRuns(liobn)] });
    }
    return pictures;
  }

  /** The first lines that contradict the tables. */
  get disagreements(): DisagreementReport[] {
    return this.machine.disagreements.map(({ line, liobn, iova, by, rebuilt, logged }) => ({
      line,
      by,
      liobn: BigInt(liobn),
      iova,
      logged: { target: logged.target, perm: logged.perm },
      rebuilt: { target: rebuilt.target, perm: rebuilt.perm },
    }));
  }

  /** Lines that could not be taken as they stand. */
  get problems(): ProblemsReport {
    const { problemCount, problems } = this.machine;
    return { count: problemCount, first: problems };
  }

  /** What a person should know of lines that could not be taken as they stand. */
  get notes(): string[] {
    const { problemCount, problems } = this.machine;
    if (problemCount === 0) return [];
    const [first] = problems;
    const where = first === undefined ? "" : `; the first is line ${first.line} (${first.kind})`;
    const lines = counted(problemCount, "line does", "lines do");
    return [`${lines} not fit the tables' geometry${where}; --window tells geometry that a log does not`];
  }

  /** Closes the input and frees the machine. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.progress.clear();
    this.machine[Symbol.dispose]();
    this.stream?.[Symbol.dispose]();
    await this.input[Symbol.asyncDispose]();
  }
}

/**
 * Reads a migration stream that must hold tables, whole ones.
 *
 * @param source A path, `-`, or an input that is open already.
 * @returns The stream. The caller disposes of it.
 * @throws {UsageError} If it holds no table or was cut in one.
 * @throws {IommuError} `"bad-input"` if it cannot be read or is none.
 */
export async function readStream(source: string | TraceInput): Promise<MigrationStream> {
  const name = typeof source === "string" ? source : source.name;
  const stream = await readMigrationStream(source);
  try {
    const [cut] = stream.cut;
    if (cut !== undefined) throw new UsageError(`${name} ends in the middle of table 0x${cut.toString(16)}`);
    if (stream.unsound > 0) {
      throw new UsageError(
        `${name} has ${stream.unsound} damaged sections of sPAPR tables: what it holds is not known`,
      );
    }
    if (stream.tables.length === 0) {
      throw new UsageError(`${name} is a migration stream without sPAPR tables, or one that ends before them`);
    }
    return stream;
  } catch (error) {
    stream[Symbol.dispose]();
    throw error;
  }
}

/**
 * The code and the remedy of whatever a host refused with.
 *
 * @param error What was thrown or reported.
 * @returns The refusal.
 * @throws What was given, if it is no refusal but a mistake of the program.
 */
export function refusalOf(error: unknown): IommuError {
  if (error instanceof IommuError) return error;
  throw error;
}
