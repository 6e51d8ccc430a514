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

/** The result of `giommu hotplug`. */
export interface HotplugReport {
  /** What was read. */
  readonly input: InputReport;
  /** The tables at the hotplug. */
  readonly tables: readonly TableReport[];
  /** What an attach would take, by the limits that the host told. */
  readonly plan: {
    /** Pages to replay. */
    readonly pages: number;
    /** Runs that they come in. */
    readonly extents: number;
    /** Host calls. */
    readonly hostMaps: number;
    /** Bytes that are pinned. */
    readonly bytes: number;
    /** What stands against it, and what would not be mapped. */
    readonly problems: readonly ErrorReport[];
  };
  /** What the attach did; `null` where only a plan was wanted, or it was refused. */
  readonly commit: { readonly hostMaps: number; readonly hostUnmaps: number; readonly nanoseconds: number } | null;
  /** What came after it; `null` without a commit. */
  readonly after: ReplayReport["after"] | null;
  /** Guest and host compared; `null` without a commit. Of a real host it is known what it took, call by call. */
  readonly verify: ReplayReport["verify"] | null;
  /** What the device's own accesses showed; `null` where none were wanted. */
  readonly dma: DmaReport | null;
  /** What was refused, where something was. */
  readonly error?: ErrorReport;
}

/** What a device read and wrote through a sample of mappings. */
export interface DmaReport {
  /** Accesses. */
  readonly checked: number;
  /** Those that went as the guest's table says. */
  readonly agreed: number;
  /** Those that did not arrive. */
  readonly refused: number;
  /** Pages of each kind that were checked. */
  readonly kinds: Readonly<Record<string, number>>;
  /** Kinds of which there are pages, and none was checked. */
  readonly missed: readonly string[];
  /** Accesses that did not go as the table says. */
  readonly wrong: readonly { readonly iova: bigint; readonly kind: string; readonly access: "read" | "write" }[];
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
