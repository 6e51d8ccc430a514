/**
 * Holds the packages against the model that core-rs/crates/model-check explores: random walks through it, with what guest and hosts
 * answer and hold after each step. What the model proves holds here as far as both do the same.
 */

import { AddressSpace, ArrayGuestMemory, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { Hcall, TceTable } from "@giommu/spapr-tce";
import type { AttachStepper, HostRules, VfioContainerInit } from "@giommu/vfio-sync";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";

const PAGE = 0x1000n;
/** The page that RAM can hide. */
const HIDDEN = 1n;
const LIST = new ArrayGuestMemory(0x1000);

/** What the guest stores for a page: as `Value` of the model. */
function tce(letter: string, page: number): bigint {
  if (letter === ".") return 0n;
  return letter === "A" ? BigInt(0x100 + page) << 12n | 3n : BigInt(0x800 + page) << 12n | 1n;
}

/** What a page reaches, as a letter. */
function letter(page: number, reached: { readonly gpa: bigint; readonly perm: number } | undefined): string {
  if (reached === undefined) return ".";
  const value = reached.gpa | BigInt(reached.perm);
  // A bus without system memory takes the bus address for the RAM's own.
  if (value === (BigInt(page) * PAGE | 3n)) return "R";
  return ["A", "B"].find((one) => tce(one, page) === value) ?? "?";
}

/** A container with its host and its attach, if that is under way. */
class Seat {
  container!: VfioContainer;
  host!: SimulatedHost;
  steps: AttachStepper | undefined;
  readonly #kind: string;
  readonly #unplugs: boolean;
  readonly #answer: () => boolean;

  constructor(kind: string, unplugs: boolean, answer: () => boolean) {
    this.#kind = kind;
    this.#unplugs = unplugs;
    this.#answer = answer;
    this.renew();
  }

  /** A new container on a new host. */
  renew(): void {
    const isAtomic = this.#kind === "atomic";
    const rules: HostRules = isAtomic ? "iommufd" : "type1";
    this.host = new SimulatedHost({
      rules,
      unmapWide: this.#kind !== "exact",
      ...(isAtomic && { split: "atomic" as const }),
      failAt: [{ call: () => !this.#answer(), errno: "EIO" }],
    });
    const options: VfioContainerInit = {
      host: this.host,
      ...(this.#kind === "quiesced" && {
        coalesce: "full" as const,
        quiesce: () => {
          if (!this.#answer()) throw new Error("the device does not stop");
        },
      }),
      ...(this.#unplugs && { cutOff: () => this.detach() }),
    };
    this.container = new VfioContainer(options);
  }

  /** Unplugs; what that leaves the container itself says. */
  detach(): void {
    try {
      this.container.detach();
    } catch {
      assert(this.container.failed !== undefined);
    }
  }

  /** What the host holds, and what the container says if it failed. */
  describe(pages: number): string {
    const held = Array.from({ length: pages }, (_, page) => letter(page, this.host.translate(BigInt(page) * PAGE)));
    const failed = this.container.failed?.ranges.map(({ start, last }) => `${start / PAGE}-${last / PAGE}`);
    return held.join("") + (failed === undefined ? "" : `!${failed.join("+")}`);
  }
}

/** The machine of one walk. */
class Machine {
  readonly #table: TceTable;
  readonly #root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  readonly #ram = new RamRegion({ name: "ram", size: PAGE });
  readonly #bus: AddressSpace;
  readonly #seats: readonly Seat[];
  readonly #pages: number;
  #answers = "";
  #asked = 0;

  constructor(hosts: readonly string[], pages: number, unplugs: boolean) {
    this.#pages = pages;
    this.#table = new TceTable({ liobn: 0x8000_0000, entries: pages });
    this.#root.addSubregion(0n, this.#table.region);
    this.#bus = new AddressSpace({ name: "bus", root: this.#root });
    const answer = () => this.#answers[this.#asked++] !== "n";
    this.#seats = hosts.map((kind) => new Seat(kind, unplugs, answer));
  }

  /** Does one act, and says what came of it. */
  step(act: string, answers: string): string {
    this.#answers = answers;
    this.#asked = 0;
    const ended = this.#act(act);
    assertEquals(this.#asked, answers.length, "calls made on hosts");
    const table = Array.from({ length: this.#pages }, (_, page) => {
      const found = this.#table.translate(BigInt(page) * PAGE);
      return letter(page, found && { gpa: found.target, perm: found.perm });
    });
    const hosts = this.#seats.map((seat) => seat.describe(this.#pages));
    return [ended, this.#table.region.notifiers.size, table.join(""), ...hosts].join(",");
  }

  #act(act: string): string {
    const kind = act[0];
    if (kind === "W") return this.#write(Number(act[1]), [...act.slice(2)]);
    if (kind === "H") return tried(() => this.#root.addSubregion(HIDDEN * PAGE, this.#ram, { priority: 1 }));
    if (kind === "S") return tried(() => this.#root.removeSubregion(this.#ram));
    const seat = this.#seats[Number(act[1])];
    assert(seat !== undefined);
    switch (kind) {
      case "a":
        return tried(() => seat.container.attach(this.#bus));
      case "p":
        return tried(() => seat.steps = seat.container.attachSteps(this.#bus, { plan: false }));
      case "s":
        return tried(() => seat.steps?.step(1));
      case "d":
        seat.detach();
        return "+";
      default:
        assertEquals(kind, "n");
        seat.renew();
        return "+";
    }
  }

  #write(first: number, letters: readonly string[]): string {
    const ioba = BigInt(first) * PAGE;
    const values = letters.map((one, i) => tce(one, first + i));
    const count = BigInt(values.length);
    let ret: Hcall;
    if (values.length === 1) ret = this.#table.putTce(ioba, values[0] ?? 0n).ret;
    else if (values.every((value) => value === 0n)) ret = this.#table.stuffTce(ioba, 0n, count).ret;
    else {
      const list = new DataView(new ArrayBuffer(values.length * 8));
      for (const [i, value] of values.entries()) list.setBigUint64(i * 8, value);
      LIST.write(0n, new Uint8Array(list.buffer));
      ret = this.#table.putTceIndirect(ioba, 0n, count, LIST).ret;
    }
    if (ret === Hcall.SUCCESS) return "s";
    assert(ret === Hcall.NOT_ENOUGH_RESOURCES || ret === Hcall.HARDWARE);
    return ret === Hcall.HARDWARE ? "h" : "r";
  }

  /** Lets go of everything, on hosts that do what they are asked. */
  dispose(): void {
    this.#answers = "";
    for (const seat of this.#seats) seat.container.dispose();
    this.#bus.dispose();
    this.#table[Symbol.dispose]();
  }
}

function tried(act: () => unknown): string {
  try {
    act();
    return "+";
  } catch {
    return "x";
  }
}

const WALKS = Deno.readTextFileSync(new URL("../data/model/walks.txt", import.meta.url)).trimEnd().split("\n");

Deno.test("tables, containers and buses do what the model does, step by step", () => {
  let steps = 0;
  for (const [number, walk] of WALKS.entries()) {
    const [hosts = "", pages = "", unplugs = "", ...rest] = walk.split(" ");
    const machine = new Machine(hosts.split(","), Number(pages), unplugs === "unplugs");
    for (const [i, step] of rest.entries()) {
      const [done = "", became = ""] = step.split("=");
      const [act = "", answers = ""] = done.split(":");
      const before = rest.slice(0, i).join(" ");
      try {
        assertEquals(machine.step(act, answers), became);
      } catch (error) {
        throw new Error(`walk ${number + 1} (${hosts} ${pages} ${unplugs}) at ${step} after ${before}`, {
          cause: error,
        });
      }
      steps++;
    }
    machine.dispose();
  }
  assert(WALKS.length >= 200 && steps >= 6000, `${steps} steps of ${WALKS.length} walks`);
});
