import type { AddressRange } from "@giommu/core";
import { formatRange, IommuError, joinRanges } from "@giommu/core";
import { MappingLedger } from "./_mapping_ledger.ts";
import { hostRefusal } from "./_refusal.ts";
import type { AsyncHostIommu } from "./async_host_iommu.ts";
import { HostError } from "./host_error.ts";
import type { HostIommu, HostIommuInfo, HostMapping } from "./host_iommu.ts";

/** One call that is still to be made on the host. */
interface Entry {
  readonly call: "MAP" | "UNMAP";
  readonly range: AddressRange;
  /** The mappings, or parts of them, that it takes away: an UNMAP, or a MAP on a host that exchanges. */
  readonly removed: readonly HostMapping[];
  send(host: AsyncHostIommu): Promise<bigint | void>;
}

/**
 * Puts a host whose calls take time behind a container, whose calls do not.
 *
 * What a guest call asks of the host is noted and taken for done; then it is sent, in order. (What the host's limits
 * forbid, a container knows beforehand.) All of it happens in a {@linkcode turn}, whose promise is settled when the host has done everything: only then
 * may the guest go on, as it may reuse a page as soon as its call returns. Turns wait for each other. Outside of a turn the
 * journal refuses every call, so that none can be forgotten to be awaited; an UNMAP that is refused so fails the container,
 * as any other.
 *
 * If the host refuses a MAP, what the turn has done on it is undone, and then `undo` takes the guest's call back, of which
 * nothing more is sent. If the host fails to UNMAP, or to undo, or there is no `undo`, journal and host differ: it has {@linkcode failed}, and
 * refuses all further turns.
 *
 * @example
 * ```ts
 * import { type AsyncHostIommu, HOST_RULES, HostJournal, SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
 * import { AddressSpace, RamRegion } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * const far = new SimulatedHost();
 * const host: AsyncHostIommu = {
 *   info: { ...HOST_RULES.none, name: "far away" },
 *   map: (mapping) => Promise.resolve().then(() => far.map(mapping)),
 *   unmap: (range) => Promise.resolve().then(() => far.unmap(range)),
 * };
 * await using journal = new HostJournal(host);
 * const container = new VfioContainer({ host: journal });
 * using space = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x10000n }) });
 * const report = await journal.turn(() => container.attach(space), () => container.detach());
 * assertEquals([report.hostMaps, far.size], [1, 1]);
 * await journal.turn(() => container.dispose());
 * assertEquals(far.size, 0);
 * ```
 */
export class HostJournal implements HostIommu, AsyncDisposable {
  readonly #host: AsyncHostIommu;
  /** What the host holds once all that was noted is done. */
  readonly #ledger = new MappingLedger();
  #entries: Entry[] = [];
  #state: "idle" | "noting" | "undoing" | "closed" = "idle";
  #last: Promise<unknown> = Promise.resolve();
  #failed: IommuError | undefined;

  /**
   * Creates a journal for a host that has mapped nothing.
   *
   * @param host The host. Borrowed; nobody else may map there.
   */
  constructor(host: AsyncHostIommu) {
    this.#host = host;
  }

  /** What the host can hold. */
  get info(): HostIommuInfo {
    return this.#host.info;
  }

  /** Why host and journal differ, and in which `ranges`; `undefined` while they are in step. */
  get failed(): IommuError | undefined {
    return this.#failed;
  }

  /**
   * Makes a guest call, or anything else that asks something of the host, and waits for the host.
   *
   * @param act What is to be done. It begins when all earlier turns are settled, and must not be asynchronous.
   * @param undo Takes back what `act` did, if the host refuses: for a guest call that stores the old entries, for an
   * attach the detach. Nothing that it asks of the host is sent. Without it a refusal is final.
   * @returns What `act` returns, when the host has done everything.
   * @throws Whatever `act` throws, when the host has done what it asked for until then.
   * @throws {IommuError} What a host refuses with: as in a container's `attach`. `"unmap-failed"` if it failed to UNMAP,
   * `"rollback-failed"` if what was done could not be undone: see {@linkcode failed}. `"container-failed"` if the
   * journal had failed before; `"disposed"`.
   */
  turn<T>(act: () => T, undo?: () => void): Promise<T> {
    const turn = this.#last.then(() => this.#take(act, undo));
    this.#last = turn.catch(() => {});
    return turn;
  }

  /**
   * Notes a MAP; see {@linkcode HostIommu.map}.
   *
   * @param mapping What to map where.
   * @throws {IommuError} `"change-in-progress"` outside of a turn.
   * @throws {HostError} `EEXIST` if something is mapped there.
   */
  map(mapping: HostMapping): void {
    this.#noting("map", mapping.iova);
    const removed = this.info.exchange ? this.#ledger.cut(mapping.iova) : [];
    if (!this.#ledger.add(mapping)) throw new HostError("EEXIST", "MAP", mapping.iova, this.info.name);
    this.#note({ call: "MAP", range: mapping.iova, removed, send: (host) => host.map(mapping) });
  }

  /**
   * Notes an UNMAP; see {@linkcode HostIommu.unmap}.
   *
   * @param range The bus addresses, both ends included.
   * @returns How many bytes will be unmapped.
   * @throws {IommuError} `"change-in-progress"` outside of a turn.
   */
  unmap(range: AddressRange): bigint {
    this.#noting("unmap", range);
    const removed = this.#ledger.cut(range);
    this.#note({ call: "UNMAP", range, removed, send: (host) => host.unmap(range) });
    return bytesOf(removed);
  }

  /** What the host holds when all turns are settled, ascending. */
  mappings(): Iterable<HostMapping> {
    return this.#ledger;
  }

  /** Waits for all turns, and refuses further ones. What is mapped stays: it is the container's to let go. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#state = "closed";
  }

  async #take<T>(act: () => T, undo: (() => void) | undefined): Promise<T> {
    this.#alive();
    this.#state = "noting";
    let done: { readonly value: T } | { readonly error: unknown };
    try {
      done = { value: act() };
    } catch (error) {
      done = { error };
    }
    this.#state = "idle";
    await this.#send(undo);
    if ("error" in done) throw done.error;
    return done.value;
  }

  /** Sends what was noted; if the host refuses, all of it is undone there, and here. */
  async #send(undo: (() => void) | undefined): Promise<void> {
    const entries = this.#entries;
    this.#entries = [];
    for (const [at, entry] of entries.entries()) {
      const refusal = await this.#make(entry);
      if (refusal === undefined) continue;
      if (entry.call === "UNMAP") throw this.#fail("unmap-failed", entries.slice(at), refusal);
      await this.#undo(entries, at, refusal, undo);
      throw refusal;
    }
  }

  /** Makes one call; returns why the host refused it, or answered otherwise than it must. */
  async #make({ call, range, removed, send }: Entry): Promise<IommuError | undefined> {
    try {
      const answer = await send(this.#host);
      const bytes = bytesOf(removed);
      if (call === "MAP" || answer === bytes) return undefined;
      return hostRefusal("unmap", range, new Error(`${this.info.name} unmapped ${answer} of ${bytes} bytes`));
    } catch (error) {
      return hostRefusal(call === "MAP" ? "map" : "unmap", range, error);
    }
  }

  /** Undoes on the host what a turn did there before it was refused, and lets the guest's call be taken back. */
  async #undo(entries: readonly Entry[], made: number, refusal: IommuError, undo?: () => void): Promise<void> {
    if (undo === undefined) throw this.#fail("host-refused", entries.slice(made), refusal);
    const before = this.#ledger.copy();
    for (const { call, range, removed } of entries.toReversed()) {
      if (call === "MAP") before.cut(range);
      for (const mapping of removed) before.add(mapping);
    }
    try {
      for (const { call, range, removed } of entries.slice(0, made).reverse()) {
        if (call === "MAP") await this.#host.unmap(range);
        for (const mapping of removed) await this.#host.map(mapping);
      }
      this.#state = "undoing";
      undo();
    } catch (cause) {
      throw this.#fail("rollback-failed", entries, new AggregateError([refusal, cause], refusal.message));
    } finally {
      this.#state = "idle";
    }
    if (!this.#ledger.translatesAs(before)) {
      throw this.#fail("rollback-failed", entries, new Error("undo did not take back all that the turn did"));
    }
  }

  #fail(
    code: "unmap-failed" | "rollback-failed" | "host-refused",
    entries: readonly Entry[],
    cause: unknown,
  ): IommuError {
    const ranges = joinRanges(entries.map(({ range }) => range));
    const why = cause instanceof Error ? cause.message : String(cause);
    return this.#failed = new IommuError(code, `Cannot keep ${this.info.name} in step: ${why}`, {
      ranges,
      remedy: "cut the device off, and close the host",
      cause,
    });
  }

  #alive(): void {
    if (this.#failed !== undefined) {
      throw new IommuError("container-failed", `Cannot use ${this.info.name}: it failed earlier`, {
        remedy: "close the host, and make a new one",
        cause: this.#failed,
      });
    }
    if (this.#state === "closed") {
      throw new IommuError("disposed", `Cannot use ${this.info.name}: its journal was disposed`);
    }
  }

  #noting(verb: string, range: AddressRange): void {
    if (this.#state === "noting" || this.#state === "undoing") return;
    throw new IommuError(
      "change-in-progress",
      `Cannot ${verb} ${formatRange(range)}: ${this.info.name} takes time, and nobody would wait for it`,
      { range, remedy: "make the guest's call inside of HostJournal.turn, and await that" },
    );
  }

  #note(entry: Entry): void {
    if (this.#state === "noting") this.#entries.push(entry);
  }
}

function bytesOf(mappings: readonly HostMapping[]): bigint {
  return mappings.reduce((sum, { iova }) => sum + (iova.last - iova.start + 1n), 0n);
}
