import type { Finding } from "./finding.ts";
import type { AddressHistory } from "./history.ts";

/** What of QEMU's log was read. */
export interface LogTimeline {
  /** Lines. */
  readonly lines: number;
  /** Lines that are events in a known format. */
  readonly events: number;
  /** Lines that begin as such an event and do not parse. */
  readonly unparsed: number;
  /** Bytes, after inflating. */
  readonly bytes: number;
  /** When the first line that mattered was logged, in microseconds since 1970; null where the log has no times. */
  readonly firstTime: number | null;
  /** When the last one was. */
  readonly lastTime: number | null;
}

/** The kernel's log, and what explains its events. Each event is counted once. */
export interface KernelTimeline {
  /** Lines. */
  readonly lines: number;
  /** Events of the IOMMU. */
  readonly events: number;
  /** Lines that look like such an event and do not parse. */
  readonly unparsed: number;
  /** Whether any event belongs to the QEMU of the log. */
  readonly matched: boolean;
  /** Whether a container was followed from its beginning in both logs: else that an event is not there proves nothing. */
  readonly anchored: boolean;
  /** QEMU's clock less the kernel's, in microseconds, as it is at the log's end; null where a log has no times. */
  readonly offset: number | null;
  /** How much the offset changed from the first match to the last, in microseconds: clocks drift. */
  readonly drift: number | null;
  /** Matches that the offset was estimated from. */
  readonly matches: number;
  /** Maps that QEMU asked for. */
  readonly maps: number;
  /** Unmaps that QEMU asked for. */
  readonly unmaps: number;
  /** Events of the driver's own test of a new container: 8192 bytes mapped and unmapped again. */
  readonly driverTests: number;
  /** Events after QEMU's last line: as it ends, what is mapped is unmapped. */
  readonly exit: number;
  /** Events before the first operation that QEMU's log shows. */
  readonly prior: number;
  /** Faults of devices. */
  readonly faults: number;
  /** Events of other processes. */
  readonly foreign: number;
  /** Events that nothing explains: each is in a finding. */
  readonly unexplained: number;
  /** Events that the tracer lost. */
  readonly lost: number;
}

/** What QEMU printed. */
export interface StderrTimeline {
  /** Lines. */
  readonly lines: number;
  /** Failures with addresses. */
  readonly failures: number;
  /** Lines that begin to tell of one and do not parse. */
  readonly unparsed: number;
  /** Failures that an operation of the log explains. */
  readonly matched: number;
}

/** One hotplug of the log. */
export interface HotplugTimeline {
  /** The line of its first `region_add_iommu`. */
  readonly first: number;
  /** The last line of its replay. */
  readonly last: number;
  /** The line where the container lost its last window; null where the log does not show that. */
  readonly unplug: number | null;
  /** The windows: LIOBNs, or names of other regions. */
  readonly windows: readonly (bigint | string)[];
  /** Pages that QEMU told the newcomer of. */
  readonly told: number;
  /** Those of them, and those that it left out, that the host does not hold. */
  readonly refused: number;
  /** Entries of the windows. */
  readonly entries: number;
  /** How long the replay took, in microseconds; null where the log has no times. */
  readonly time: number | null;
}

/** How the logs were brought onto one time, and what they hold. */
export interface Timeline {
  /** QEMU's log. */
  readonly log: LogTimeline;
  /** The kernel's log; null where there is none. */
  readonly kernel: KernelTimeline | null;
  /** What QEMU printed; null where that is not known. */
  readonly stderr: StderrTimeline | null;
  /** The hotplugs. */
  readonly hotplugs: readonly HotplugTimeline[];
  /** Host mappings as far as they are known. */
  readonly hostMaps: {
    /** At the end. */
    readonly held: number;
    /** At most. */
    readonly most: number;
  };
}

/** Something that these logs do not tell, and what would. */
export interface UnknownNote {
  /** What is not known; stable. */
  readonly id: string;
  /** The same for people. */
  readonly what: string;
  /** What to record for it. */
  readonly option: string;
}

/** What cannot be known from these logs. */
export interface Unknowns {
  /** Maps whose targets in the guest no line tells. */
  readonly targets: number;
  /** Maps that were refused since the very same was mapped: harmless, and not counted elsewhere. */
  readonly repeated: number;
  /** What else, each with what would tell it. */
  readonly notes: readonly UnknownNote[];
}

/** What was found in the logs of one QEMU. */
export interface Diagnosis {
  /** The version of this format: fields are added without a new one. */
  readonly version: 1;
  /** Whether nothing is wrong: no finding is an error. */
  readonly healthy: boolean;
  /** The findings: errors, warnings, costs; among those what matters most to a device first. */
  readonly findings: readonly Finding[];
  /** The logs. */
  readonly timeline: Timeline;
  /** What they do not tell. */
  readonly unknown: Unknowns;
  /** What happened at the address that was asked for. */
  readonly history?: AddressHistory;
}
