/** What the real kernel answers to calls that it refuses, beside what a simulated host answers: the same. */

import type { AddressRange } from "@giommu/core";
import { RamRegion } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import { PinnedMemory } from "@giommu/vfio-linux";
import type { HostIommu } from "@giommu/vfio-sync";
import { HostError, SimulatedHost } from "@giommu/vfio-sync";
import { assertEquals } from "@std/assert";
import { hostTest } from "./vm.ts";

const RANGE = { start: 0x10_0000n, last: 0x10_ffffn };

/** Answers in this order: type1, iommufd that splits, iommufd with huge pages. */
type Answers = readonly [string, string, string];
const same = (answer: string): Answers => [answer, answer, answer];

interface Case {
  readonly name: string;
  readonly call: "map" | "unmap";
  readonly range: AddressRange;
  readonly answers: Answers;
  readonly perm?: IommuPerm;
  readonly ramOffset?: bigint;
  /** Bytes that are mapped afterwards; the 64 KiB of before unless given. */
  readonly left?: readonly bigint[];
}

/** 64 KiB are mapped at 0x100000 before each. */
const CASES: readonly Case[] = [
  { name: "map over the same range", call: "map", range: RANGE, answers: same("EEXIST") },
  { name: "map over a part", call: "map", range: { start: 0x10_8000n, last: 0x11_7fffn }, answers: same("EEXIST") },
  { name: "map of no bytes", call: "map", range: { start: 0n, last: -1n }, answers: same("EINVAL") },
  { name: "map at an odd address", call: "map", range: { start: 0x800n, last: 0x17ffn }, answers: same("EINVAL") },
  { name: "map of half a page", call: "map", range: { start: 0n, last: 0x7ffn }, answers: same("EINVAL") },
  {
    name: "map without permission",
    call: "map",
    range: { start: 0n, last: 0xfffn },
    perm: IommuPerm.NONE,
    answers: same("EINVAL"),
  },
  {
    name: "map where interrupts go",
    call: "map",
    range: { start: 0xfee0_0000n, last: 0xfee0_0fffn },
    answers: same("EINVAL"),
  },
  {
    name: "map above the IOVA ranges",
    call: "map",
    range: { start: 1n << 59n, last: (1n << 59n) + 0xfffn },
    answers: same("EINVAL"),
  },
  {
    name: "map that wraps around",
    call: "map",
    range: { start: 0xffff_ffff_ffff_f000n, last: 0x1_0000_0000_0000_0fffn },
    answers: ["EINVAL", "EOVERFLOW", "EOVERFLOW"],
  },
  {
    name: "map beyond the end of the memory",
    call: "map",
    range: { start: 0n, last: 0x1fffn },
    ramOffset: 0xf_f000n,
    answers: same("EFAULT"),
  },
  {
    name: "unmap inside a map",
    call: "unmap",
    range: { start: 0x10_4000n, last: 0x10_4fffn },
    answers: ["EINVAL", "4096", "ENOENT"],
    left: [0x1_0000n, 0xf000n, 0x1_0000n],
  },
  {
    name: "unmap of the first half",
    call: "unmap",
    range: { start: 0x10_0000n, last: 0x10_7fffn },
    answers: ["EINVAL", "32768", "ENOENT"],
    left: [0x1_0000n, 0x8000n, 0x1_0000n],
  },
  {
    name: "unmap of the last page and beyond",
    call: "unmap",
    range: { start: 0x10_f000n, last: 0x11_ffffn },
    answers: ["EINVAL", "4096", "ENOENT"],
    left: [0x1_0000n, 0xf000n, 0x1_0000n],
  },
  {
    name: "unmap that is wider than the map",
    call: "unmap",
    range: { start: 0n, last: 0xff_ffffn },
    answers: same("65536"),
    left: [0n, 0n, 0n],
  },
  {
    name: "unmap of nothing",
    call: "unmap",
    range: { start: 0x20_0000n, last: 0x20_ffffn },
    answers: ["0", "0", "ENOENT"],
  },
  {
    name: "unmap at an odd address",
    call: "unmap",
    range: { start: 0x10_0800n, last: 0x10_17ffn },
    // iommufd with huge pages is asked by its own request, which looks for mappings only.
    answers: ["EINVAL", "EINVAL", "ENOENT"],
  },
];

hostTest("refuses what it refuses by the right name, and changes nothing then", ({ name, open }) => {
  const column = ["type1", "iommufd", "iommufd with huge pages"].indexOf(name);
  using memory = new PinnedMemory({ size: 0x10_0000n });
  const ram = new RamRegion({ name: "ram", size: memory.size, memory });
  using host = open();
  const answers = CASES.map((one) => [one.name, outcome(host, ram, one)]);
  const expected = CASES.map((one) => [one.name, [one.answers[column], (one.left ?? same64)[column]]]);
  assertEquals(answers, expected);
});

hostTest("answers as the simulated host of its kind does", ({ name, open }) => {
  using memory = new PinnedMemory({ size: 0x10_0000n });
  const ram = new RamRegion({ name: "ram", size: memory.size, memory });
  using host = open();
  const simulated = new SimulatedHost({
    rules: name === "type1" ? "type1" : "iommufd",
    split: host.info.split,
    iovaRanges: host.info.iovaRanges,
  });
  for (const one of CASES) {
    if (name === "iommufd with huge pages" && one.name === "unmap at an odd address") continue;
    assertEquals(outcome(simulated, ram, one), outcome(host, ram, one), one.name);
  }
});

hostTest("errors say which call, where, and what helps", ({ open }) => {
  using memory = new PinnedMemory({ size: 0x10_0000n });
  const ram = new RamRegion({ name: "ram", size: memory.size, memory });
  using host = open();
  const iova = { start: 1n << 59n, last: (1n << 59n) + 0xfffn };
  const error = refusalOf(() => host.map({ iova, gpa: 0n, perm: 3, ram, ramOffset: 0n }));
  assertEquals([error.errno, error.call, error.range], ["EINVAL", "MAP", iova]);
  assertEquals(error.remedy?.includes("dma64_win_addr"), true);
  const plain = refusalOf(() => host.map({ iova: { start: 0n, last: 0xfffn }, gpa: 0n, perm: 3 }));
  assertEquals([plain.errno, plain.remedy], ["EFAULT", "give the container the guest's memory map (memory)"]);
});

const same64 = [0x1_0000n, 0x1_0000n, 0x1_0000n];

/** What a call answers, and how many bytes are mapped in the first 2 MiB afterwards. */
function outcome(host: HostIommu, ram: RamRegion, one: Case): [string, bigint] {
  host.map({ iova: RANGE, gpa: 0n, perm: 3, ram, ramOffset: 0n });
  let answer: string;
  try {
    if (one.call === "unmap") {
      answer = String(host.unmap(one.range));
    } else {
      host.map({ iova: one.range, gpa: one.ramOffset ?? 0n, perm: one.perm ?? 3, ram, ramOffset: one.ramOffset ?? 0n });
      answer = "ok";
    }
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    answer = error.errno;
  }
  return [answer, clear(host)];
}

/** Unmaps everything, and tells how many bytes that was. */
function clear(host: HostIommu): bigint {
  try {
    return host.unmap({ start: 0n, last: 0xff_ffffn });
  } catch (error) {
    if (error instanceof HostError && error.errno === "ENOENT") return 0n;
    throw error;
  }
}

function refusalOf(call: () => void): HostError {
  try {
    call();
  } catch (error) {
    if (error instanceof HostError) return error;
    throw error;
  }
  throw new Error("Cannot tell what was refused: nothing was");
}
