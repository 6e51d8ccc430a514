// Lets every host call of every kind of change fail, one at a time and several in a row, and looks at what is left.
import type { HostErrno, HostIommu, VfioContainerInit } from "@giommu/vfio-sync";
import type { Change } from "./changes.ts";
import { CHANGES, prepare } from "./changes.ts";
import { Machine, type MachineInit, type Refusal } from "./machine.ts";

/** Every error of the kernels' tables. */
export const ERRNOS: readonly HostErrno[] = [
  "EBUSY",
  "EEXIST",
  "EFAULT",
  "EINVAL",
  "EIO",
  "ENODEV",
  "ENOENT",
  "ENOMEM",
  "ENOSPC",
  "ENXIO",
  "EOPNOTSUPP",
  "EOVERFLOW",
  "EPERM",
];

/** A kind of host to be swept: a simulator, or a real backend. */
export interface SweptHost {
  readonly name: string;
  /** Opens a new one that has mapped nothing. */
  readonly open: () => HostIommu;
  /** Closes it; what it still holds is a leak. */
  readonly close?: (host: HostIommu) => void;
  /** Whether calls that it refuses are made all the same; for tests of this. */
  readonly lies?: boolean;
  /** Of the container on it. */
  readonly options?: Omit<VfioContainerInit, "host">;
  /** Where the second window lies; 1 MiB unless given. */
  readonly highAt?: bigint;
  /** Whether the bus may show RAM without an IOMMU; true unless given. */
  readonly hasRam?: boolean;
}

/** The changes that can be made on a kind of host. */
export function changesOn({ hasRam = true }: SweptHost): readonly Change[] {
  return CHANGES.filter(({ needsRam }) => hasRam || needsRam !== true);
}

/**
 * Lets each call of one change fail with each error.
 *
 * @returns What was not as documented, one line each; empty if all was.
 */
export function sweep(change: Change, swept: SweptHost, errnos: readonly HostErrno[] = ERRNOS): string[] {
  const wrong: string[] = [];
  const undisturbed = run(change, swept, new Map());
  if (undisturbed.refusal !== undefined) {
    return [`${change.name} is refused on its own: ${undisturbed.refusal.message}`];
  }
  wrong.push(...undisturbed.wrong);
  for (let k = 1; k <= undisturbed.calls; k++) {
    for (const errno of errnos) {
      const what = `${swept.name}: ${change.name}, call ${k} of ${undisturbed.calls} fails with ${errno}`;
      const found = run(change, swept, new Map([[k, errno]]));
      wrong.push(...[...found.wrong, ...judge(hasHoles(swept), found, undisturbed)].map((line) => `${what}: ${line}`));
    }
    // An undo that fails as well: whatever is lost then is named.
    for (const more of [[1], [2], [1, 2], [1, 2, 3, 4]]) {
      const plan = new Map<number, HostErrno>([[k, "EIO"], ...more.map((n) => [k + n, "EIO"] as const)]);
      const what = `${swept.name}: ${change.name}, calls ${[...plan.keys()].join(", ")} fail`;
      const found = run(change, swept, plan);
      wrong.push(...[...found.wrong, ...untold(found, undisturbed)].map((line) => `${what}: ${line}`));
    }
  }
  return wrong;
}

interface Run {
  readonly refusal: Refusal;
  readonly calls: number;
  readonly failed: readonly string[];
  readonly before: string;
  readonly after: string;
  readonly isFailed: boolean;
  /** The code of the container's failure. */
  readonly code: string | undefined;
  readonly problems: number;
  readonly wrong: readonly string[];
}

function run(change: Change, swept: SweptHost, plan: ReadonlyMap<number, HostErrno>): Run {
  const init: MachineInit = {
    host: swept.open(),
    options: swept.options ?? {},
    highAt: swept.highAt ?? 0x10_0000n,
    hasRam: swept.hasRam ?? true,
    lies: swept.lies ?? false,
  };
  using machine = new Machine(init);
  prepare(change, machine);
  const before = machine.state().join("\n");
  const { calls } = machine.host;
  const problems = machine.container.counters.problems;
  machine.host.failIn(plan);
  const refusal = change.act(machine);
  const made = machine.host.calls - calls;
  const failed = [...machine.host.failed];
  const found = {
    refusal,
    calls: made,
    failed,
    before,
    after: machine.state().join("\n"),
    isFailed: machine.container.failed !== undefined,
    code: machine.container.failed?.code,
    problems: machine.container.counters.problems - problems,
  };
  const wrong = machine.wrong();
  wrong.push(...machine.end().map((left) => `left on the host in the end: ${left}`));
  swept.close?.(init.host);
  return { ...found, wrong };
}

/** Whether a part of a map goes by taking all of it away. */
function hasHoles({ options = {} }: SweptHost): boolean {
  return options.allowDmaHoles === true || options.quiesce !== undefined;
}

/** Whatever fails: either it is done all the same, or somebody is told. */
function untold({ failed, refusal, isFailed, problems, after }: Run, undisturbed: Run): string[] {
  if (refusal !== undefined || isFailed || problems > 0 || after === undisturbed.after) return [];
  return [`${failed.join(", ")} failed, and nobody is told`];
}

/** What one failed call may lead to. */
function judge(isHole: boolean, found: Run, undisturbed: Run): string[] {
  const [failed] = found.failed;
  const { refusal, isFailed, before, after, code } = found;
  if (failed === undefined) return ["the call that should fail was not made"];
  const silent = untold(found, undisturbed);
  if (silent.length > 0) return silent;
  switch (failed) {
    case "MAP":
    case "CREATE":
    case "REGISTER": {
      // Refused: everything is as before, the container goes on. Or the host took it at a second try (levels of a window).
      if (refusal === undefined && !isFailed && after === undisturbed.after) return [];
      // The rest of a map in which a hole was made: the whole is gone, and the host does not take the rest back.
      if (isFailed && isHole && code === "mapping-lost") return [];
      if (isFailed) return [`the container failed: ${code}`];
      if (refusal === undefined) return ["it is neither refused nor done"];
      return after === before ? [] : [`it is refused (${refusal.code}), and not as before:\n${before}\n---\n${after}`];
    }
    case "REMOVE":
    case "UNREGISTER":
      // Nothing is mapped there any more: it is done, the host keeps an empty window or pinned memory, and that is said.
      if (isFailed) return [`the container failed: ${code}`];
      return found.problems > 0 || refusal?.code === "unmap-failed" ? [] : ["nobody says that the host kept something"];
    default:
      // An UNMAP. What was new can still be refused; what the guest removed is removed from its table, and the container ends.
      if (!isFailed) return [`an UNMAP failed, and the container lives: ${refusal?.code ?? "done"}`];
      if (code !== "unmap-failed" && code !== "rollback-failed" && code !== "mapping-lost") {
        return [`it failed of ${code}`];
      }
      return refusal === undefined ? ["an UNMAP failed, and the caller is not told"] : [];
  }
}
