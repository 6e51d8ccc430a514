// Runs the cases of cases.ts on any HostIommu: a simulator here, a real kernel in a VM.
import type { RamRegion } from "@giommu/memory-api";
import type { HostIommu } from "@giommu/vfio-sync";
import { HostError } from "@giommu/vfio-sync";
import type { Answer, Answers, HostKind, HostRuleCall, HostRuleCase } from "./cases.ts";
import { HOST_RULE_CASES } from "./cases.ts";

/** A host that has mapped nothing, and RAM that it can map. Disposed of after each case. */
export interface HostUnderTest extends Disposable {
  readonly host: HostIommu;
  /** At least RAM_BYTES of it, read and write; no byte behind its end is memory of the guest. */
  readonly ram: RamRegion;
}

/** How many mappings a host without a limit is tried with. */
const MANY = 70_000;
const PAGE = 0x1000n;

/**
 * Runs every case that concerns a kind of host.
 *
 * @param kind The kind.
 * @param open Makes a new host; called once per case.
 * @returns What was not as expected, one line each; empty if all was.
 */
export function runHostRules(kind: HostKind, open: () => HostUnderTest): string[] {
  const wrong: string[] = [];
  for (const one of casesOf(kind)) {
    using subject = open();
    wrong.push(...runHostRule(one, kind, subject));
  }
  return wrong;
}

/** The cases that concern a kind of host. */
export function casesOf(kind: HostKind): HostRuleCase[] {
  return HOST_RULE_CASES.filter(({ only }) => only === undefined || only.includes(kind));
}

/** Runs one case; returns what was not as expected. It ends there, as what follows means nothing then. */
export function runHostRule({ name, calls }: HostRuleCase, kind: HostKind, subject: HostUnderTest): string[] {
  for (const [index, [call, answers]] of calls.entries()) {
    const expected = answersFor(answers, kind);
    const found = perform(call, subject);
    if (expected.includes(found)) continue;
    const what = `${call.do}${"iova" in call ? ` 0x${call.iova.toString(16)}` : ""}`;
    return [`${kind}: ${name}: call ${index + 1}, ${what}, answered ${found}, expected ${expected.join(" or ")}`];
  }
  return [];
}

function answersFor(answers: Answers, kind: HostKind): readonly Answer[] {
  if (typeof answers !== "object") return [answers];
  const mine = "type1" in answers ? answers[kind] : answers;
  return typeof mine === "object" ? mine : [mine];
}

function perform(call: HostRuleCall, { host, ram }: HostUnderTest): Answer {
  try {
    return make(call, host, ram);
  } catch (error) {
    if (error instanceof HostError) return error.errno;
    throw error;
  }
}

function make(call: HostRuleCall, host: HostIommu, ram: RamRegion): Answer {
  const { dirty } = host;
  switch (call.do) {
    case "map": {
      const { iova: start, size, at: ramOffset = 0n, perm = 3 } = call;
      host.map({ iova: { start, last: start + size - 1n }, gpa: ramOffset, perm, ram, ramOffset });
      return "ok";
    }
    case "unmap":
      return host.unmap({ start: call.iova, last: call.iova + call.size - 1n });
    case "fill": {
      const count = host.info.maxMappings ?? MANY;
      for (let i = 0; i < count; i++) {
        const start = call.iova + BigInt(i) * PAGE;
        host.map({ iova: { start, last: start + PAGE - 1n }, gpa: 0n, perm: 3, ram, ramOffset: 0n });
      }
      return "ok";
    }
    case "start":
      if (dirty === undefined) return "EOPNOTSUPP";
      dirty.start();
      return "ok";
    case "stop":
      if (dirty === undefined) return "EOPNOTSUPP";
      dirty.stop();
      return "ok";
    case "collect":
      if (dirty === undefined) return "EOPNOTSUPP";
      dirty.collect({ start: call.iova, last: call.iova + call.size - 1n });
      return "ok";
    case "unmap-collecting":
      if (dirty === undefined) return "EOPNOTSUPP";
      return dirty.unmap({ start: call.iova, last: call.iova + call.size - 1n }).bytes;
  }
}
