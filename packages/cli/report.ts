import type { AddressRange } from "@giommu/core";
import type { LogProblem } from "@giommu/qemu-trace";

/** What was read, as every subcommand reports it. */
export interface InputReport {
  /** Bytes as read, before inflating. */
  readonly bytes: number;
  /** Lines. */
  readonly lines: number;
  /** Lines in one of the known formats. */
  readonly events: number;
  /** Lines that start like one and do not parse. */
  readonly unparsed: number;
}

/** One table, as every subcommand reports it. */
export interface TableReport {
  /** Its LIOBN. */
  readonly liobn: bigint;
  /** The page size as a power of two. */
  readonly pageShift: number;
  /** The bus address of entry 0. */
  readonly busOffset: bigint;
  /** How many entries it has. */
  readonly entries: number;
  /** Known entries with a permission. */
  readonly mapped: number;
  /** Entries whose content the input does not tell; never among `mapped`. */
  readonly unknown: number;
}

/** How often the log's translations and the rebuilt tables met. */
export interface TranslationsReport {
  /** Answers that the rebuilt table gives as well. */
  readonly agreed: number;
  /** Answers that it does not. */
  readonly disagreed: number;
  /** Answers about entries that the log had not told. */
  readonly learned: number;
}

/** Lines that contradict the tables' geometry or were too much, and were left out. */
export interface ProblemsReport {
  /** How many. */
  readonly count: number;
  /** The first ten. */
  readonly first: readonly LogProblem[];
}

/** One line of the log that contradicts the rebuilt tables. */
export interface DisagreementReport {
  /** The line, from 1. */
  readonly line: number;
  /** `xlate`: QEMU translated the address; `get`: the guest read the entry. */
  readonly by: "xlate" | "get";
  /** The table. */
  readonly liobn: bigint;
  /** The bus address. */
  readonly iova: bigint;
  /** What the log says. */
  readonly logged: { readonly target: bigint; readonly perm: number };
  /** What the calls before it made. */
  readonly rebuilt: { readonly target: bigint; readonly perm: number };
}

/** What was found at one page that differs between guest and host. */
export interface DifferenceReport {
  /** The addresses, both ends included. */
  readonly range: AddressRange;
  /** What is wrong with them. */
  readonly kind: "missing" | "stale" | "differing";
  /** Where the guest points, where it does. */
  readonly guest: bigint | undefined;
  /** Where the host points, where it does. */
  readonly host: bigint | undefined;
}

/** The result of `giommu replay`. */
export interface ReplayReport {
  /** What was read. */
  readonly input: InputReport;
  /** The tables at the hotplug. */
  readonly tables: readonly TableReport[];
  /** What the hotplug did; no host map was made where it was refused. */
  readonly hotplug: {
    /** Whether the container was attached; `error` says why not. */
    readonly attached: boolean;
    /** The line at which the container was attached; 0 for a migration stream. */
    readonly line: number;
    /** The tables that it saw. */
    readonly liobns: readonly bigint[];
    /** Pages replayed. */
    readonly pages: number;
    /** Runs that they came in. */
    readonly extents: number;
    /** Pages that QEMU shows mapped with a target that the log does not tell. */
    readonly unknownPages: number;
    /** Host calls made. */
    readonly hostMaps: number;
    /** Host calls that each policy would need. */
    readonly maps: { readonly none: number; readonly call: number; readonly full: number };
    /** How long attach and replay took. */
    readonly nanoseconds: number;
  };
  /** What came after it, up to the unplug or the end. */
  readonly after: {
    /** Events of the log, up to the unplug. */
    readonly events: number;
    /** Host maps made. */
    readonly hostMaps: number;
    /** Host unmaps made. */
    readonly hostUnmaps: number;
    /** Times that a live neighbour was without its translation. */
    readonly holes: number;
  };
  /** Guest and host compared, page by page. */
  readonly verify: {
    /** Pages that the guest has mapped. */
    readonly guestPages: number;
    /** Pages that the host has mapped. */
    readonly hostPages: number;
    /** Mapped by the guest, not by the host. */
    readonly missing: number;
    /** Mapped by the host, not by the guest. */
    readonly stale: number;
    /** Mapped by both, to different places or with different permission. */
    readonly differing: number;
    /** Mapped by the guest to what is no RAM: not expected of the host. */
    readonly notRam: number;
    /** The first of each. */
    readonly differences: readonly DifferenceReport[];
  };
  /** What QEMU replayed at this hotplug; `null` where the log has none. */
  readonly qemu: QemuReport | null;
  /** How often the log's translations and the rebuilt tables met, in the whole log. */
  readonly translations: TranslationsReport;
  /** The same for what the guest read back. */
  readonly reads: TranslationsReport;
  /** Lines that were left out. */
  readonly problems: ProblemsReport;
  /** The first translations that contradict the tables. */
  readonly disagreements: readonly DisagreementReport[];
  /** The log's own hotplugs, each with the line where it begins. */
  readonly hotplugs: readonly { readonly line: number; readonly liobns: readonly bigint[] }[];
  /** What was refused, where something was. */
  readonly error?: ErrorReport;
}

/** What the report of a replay and that of a hotplug share. */
export interface HotplugParts extends Omit<ReplayReport, "hotplug"> {
  /** The hotplug; without `attached` only the plan was wanted, or `error` says why not. */
  readonly hotplug: Pick<ReplayReport["hotplug"], "attached" | "line" | "liobns" | "unknownPages" | "maps">;
}

/** What an attach did on the host. */
export interface CommitReport {
  /** Host maps made. */
  readonly hostMaps: number;
  /** Host unmaps made: only to undo an attach that was refused on the way. */
  readonly hostUnmaps: number;
  /** How long plan, attach and replay took; 0 where nothing was attached. */
  readonly nanoseconds: number;
}

/** The result of `giommu hotplug`: that of the replay onto this host, and what is more to be said of a real one. */
export interface HotplugReport extends HotplugParts {
  /** What the host is, as it told. */
  readonly host: {
    /** What people call it. */
    readonly name: string;
    /** Whether a part of a mapping can be unmapped. */
    readonly split: "atomic" | "none";
    /** Where it maps. */
    readonly iovaRanges: readonly AddressRange[];
    /** How many mappings it holds; `null` for as many as memory does. */
    readonly maxMappings: number | null;
    /** How neighbouring pages share mappings, as used. */
    readonly coalesce: string;
  };
  /** What an attach takes by the limits that the host told, found out before its first call. */
  readonly plan: {
    /** Pages to be replayed. */
    readonly pages: number;
    /** Runs that they come in. */
    readonly extents: number;
    /** Host maps. */
    readonly hostMaps: number;
    /** Bytes of memory that they pin; what is mapped twice counts twice. */
    readonly bytes: number;
    /** Why it is refused, where it is; then what is not mapped and refuses nothing, at most 100. */
    readonly problems: readonly ErrorReport[];
  };
  /** What the attach did. */
  readonly commit: CommitReport;
  /** What the device itself read and wrote; `null` where that was not wanted, or nothing is attached. */
  readonly dma: DmaReport | null;
}

/** What a device read and wrote through a sample of mappings of every kind. */
export interface DmaReport {
  /** Accesses: reads, and writes where it can be seen whether they arrived. */
  readonly checked: number;
  /** Those that ended as the guest's table says. */
  readonly agreed: number;
  /** Of these, those that must not arrive, and did not. */
  readonly refused: number;
  /** For each kind of page how many there are, and how many of them were looked at. */
  readonly kinds: Readonly<Record<string, { readonly pages: number; readonly checked: number }>>;
  /** Kinds of which there are pages, and none was looked at. */
  readonly missed: readonly string[];
  /** Accesses that ended otherwise. */
  readonly differences: readonly DmaDifference[];
}

/** An access of a device that did not end as the guest's table says. */
export interface DmaDifference {
  /** Where. */
  readonly iova: bigint;
  /** What. */
  readonly access: "read" | "write";
  /** The kinds of the page. */
  readonly kinds: readonly string[];
  /** How it ended. */
  readonly found: string;
}

/** What QEMU replayed, compared with the rebuilt tables. */
export interface QemuReport {
  /** Pages that QEMU told the newcomer of. */
  readonly replayed: number;
  /** Of these, pages that the rebuilt tables have mapped. */
  readonly agreed: number;
  /** Of these, pages that they have known and not mapped. */
  readonly missing: number;
  /** Pages that they have mapped and QEMU did not tell of. */
  readonly extra: number;
  /** Pages that QEMU told of and whose entries are not known. */
  readonly unknown: number;
}

/** A refusal. */
export interface ErrorReport {
  /** The stable code. */
  readonly code: string;
  /** The addresses, where it is about some. */
  readonly range: AddressRange | null;
  /** What happened. */
  readonly message: string;
  /** What would help, where something does. */
  readonly remedy?: string;
  /** The line of the log whose change was refused, where the attach was not. */
  readonly line?: number;
}

/** One table compared with a migration stream. */
export interface StateReport {
  /** Its LIOBN. */
  readonly liobn: bigint;
  /** How many entries it has. */
  readonly entries: number;
  /** Entries that agree. */
  readonly agreed: number;
  /** Entries that do not. */
  readonly differing: number;
  /** Entries whose content the log does not tell. */
  readonly unknown: number;
  /** Whether the stream lacks the table: what the log has mapped there counts as differing. */
  readonly absent?: true;
}

/** The result of `giommu check`. */
export interface CheckReport {
  /** What was read. */
  readonly input: InputReport;
  /** The tables at the end. */
  readonly tables: readonly TableReport[];
  /** How often the log's translations and the rebuilt tables met. */
  readonly translations: TranslationsReport;
  /** The same for what the guest read back. */
  readonly reads: TranslationsReport;
  /** Lines that were left out. */
  readonly problems: ProblemsReport;
  /** The comparison with a migration stream, where one was given. */
  readonly state: readonly StateReport[] | null;
  /** The first translations that contradict the tables. */
  readonly disagreements: readonly DisagreementReport[];
}
