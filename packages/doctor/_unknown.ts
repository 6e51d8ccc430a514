import type { Timeline, UnknownNote, Unknowns } from "./diagnosis.ts";

/** What is known of the logs beside their timeline. */
export interface LogFacts {
  readonly told: number;
  readonly targetsUnknown: number;
  readonly repeated: number;
  readonly timed: boolean;
  readonly translations: number;
  /** Whether the guest has TCE tables. */
  readonly spapr: boolean;
}

/** What cannot be known from these logs. */
export function unknowns({ log, kernel, stderr, hotplugs }: Timeline, facts: LogFacts): Unknowns {
  const notes: UnknownNote[] = [];
  const note = (id: string, what: string, option: string) => notes.push({ id, what, option });
  if (hotplugs.length === 0) {
    note(
      "no-hotplug",
      "the log shows no device with an IOMMU window: there is no host to compare the guest with",
      "-trace 'vfio_*' from before the device is plugged in",
    );
  } else if (facts.told === 0) {
    note(
      "no-operations",
      "the log does not show what QEMU told its listeners: what the host holds is not known",
      "-trace vfio_iommu_map_notify",
    );
  }
  if (kernel === null) {
    note(
      "no-kernel-log",
      stderr === null
        ? "whether the host did what QEMU asked: only the kernel's rules say it, and failures by them alone are found"
        : "what the host really held, and where in its memory: what QEMU printed and the kernel's rules stand for it",
      "--kernel: the events iommu:map, iommu:unmap and iommu:io_page_fault of tracefs",
    );
  } else if (!kernel.matched) {
    note(
      "kernel-log-of-another",
      "the kernel's log has nothing of this QEMU, and is not used",
      "--kernel: a log of the same run, on from before the device is plugged in",
    );
  } else if (kernel.lost === 0 && !kernel.anchored) {
    note(
      "kernel-log-not-anchored",
      "where the kernel's log begins in QEMU's: that an event is not there proves nothing",
      "both logs from before the device is plugged in",
    );
  } else if (kernel.lost > 0) {
    note(
      "kernel-events-lost",
      `the tracer lost ${kernel.lost} events: that an event is not there proves nothing`,
      "a larger buffer: echo 65536 > /sys/kernel/tracing/buffer_size_kb",
    );
  }
  if (stderr === null && hotplugs.length > 0) {
    note("no-stderr", "why a map failed: QEMU says that on its standard error only", "--stderr: what QEMU printed");
  }
  if (!facts.timed && log.events > 0) {
    note("no-timestamps", "when something happened, and how long a replay took", "-msg timestamp=on");
  }
  if (facts.targetsUnknown > 0) {
    note(
      "targets-not-logged",
      `where ${facts.targetsUnknown.toLocaleString("en")} of ${facts.told.toLocaleString("en")} operations point to` +
        (facts.spapr ? ": H_PUT_TCE_INDIRECT logs its last entry only" : ""),
      !facts.spapr
        ? "-trace 'vtd_page_walk_*', -trace 'virtio_iommu_*'"
        : facts.translations === 0
        ? "-trace spapr_iommu_xlate (makes a replay 20 times as long)"
        : "a guest with multitce=off",
    );
  }
  if (log.unparsed > 0) {
    note(
      "unparsed",
      `${log.unparsed} lines of the log begin as events do and are cut or damaged`,
      "a log that is whole",
    );
  }
  return { targets: facts.targetsUnknown, repeated: facts.repeated, notes };
}
