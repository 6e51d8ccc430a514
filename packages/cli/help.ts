/** The text of `giommu --help`. */
export const HELP = `giommu: keeps a host's IOMMU in step with a guest's, and shows it on recordings of real systems

Usage: giommu COMMAND INPUT [options]

Commands:
  replay       rebuild the guest's tables, hotplug a device on a simulated host, replay, follow, verify
  check        compare every translation that QEMU logged with the rebuilt tables
  doctor       say what went wrong between guest, QEMU and host, since when, and by which call of the guest
  hotplug      the same with real memory and, where there is one, a real device: plan, attach, follow, verify, detach
  diff         compare two states: a log at two points, two logs, a log and a migration stream
  export       write a log's events or its mappings' lifetimes for other tools: Perfetto, CSV, JSON lines, Parquet
  conformance  do what recorded guests did to QEMU to the machine of this project, and compare every answer

INPUT is a QEMU log or a migration stream, told apart by content, plain or .gz; - is standard input. conformance takes
recordings of another kind instead.
giommu COMMAND --help tells a command's options.

Exit status: 0 all agrees, 1 something differs or was refused, 2 bad input or arguments.
`;

/** The text of `giommu replay --help`. */
export const REPLAY_HELP = `giommu replay: rebuild the guest's tables, hotplug a device, replay, follow the log, verify

Usage: giommu replay INPUT [options]

Rebuilds the guest's tables up to WHERE, attaches a container with a simulated host to the PCI host bridge, replays what is
mapped, goes on with the rest of the log as live updates, and compares guest and host page by page.

Where and what:
  --at WHERE             attach after line 1234, at timestamp 1795217436.442317, after 50% of the bytes, at the log's own
                         VFIO hotplug (hotplug, hotplug:2) or at its end (end); default: the first hotplug, else the end
  --phb N                the host bridge's index; default: the first that has something mapped there
  --liobn L              attach only this table (may be repeated)
  --window LIOBN=SIZE[/PAGE][@BUS]
                         geometry that the log does not tell (may be repeated), for example 0x80000000=2G/64K@0

The host:
  --host KIND            sim (4 KiB pages, everything allowed, atomic split; the default), or the rules of type1, iommufd, spapr
  --host-page SIZE       its smallest page
  --iova-range A-B       addresses that it translates, both ends included (may be repeated)
  --max-mappings N       how many mappings it holds
  --ram SIZE             the guest's RAM from address 0; default: everything is RAM
  --coalesce POLICY      auto (the default: full where the host splits atomically, else none), none, call, full

Output:
  --dump FILE            write the live host mappings at the end to FILE.csv or FILE.json
  --json                 one JSON object on standard output

SIZE: bytes, 0x hexadecimal, or with K, M, G, T.
Exit status: 0 guest and host agree, 1 something differs or was refused, 2 bad input or arguments.
`;

/** The text of `giommu hotplug --help`. */
export const HOTPLUG_HELP = `giommu hotplug: plug a device into a recorded guest, follow the log, verify, detach

Usage: giommu hotplug INPUT --host vfio:GROUP|iommufd:DEVICE|sim [options]

Rebuilds the guest's tables up to WHERE, puts real memory behind the guest, plans, attaches a container of the host to the PCI
host bridge, replays what is mapped, goes on with the rest of the log as live updates, compares guest and host page by page,
and detaches. A real kernel does not tell what it has mapped: compared are the calls that it took, and --verify-dma asks the
hardware.

The host:
  --host vfio:GROUP      a VFIO container (type 1) with the IOMMU group of this number
  --host iommufd:DEVICE  an I/O address space with the device of this PCI address, or of this name in /dev/vfio/devices
  --host sim             a simulated host (4 KiB pages, everything allowed, atomic split); sim:type1, sim:iommufd and sim:spapr
                         have the rules of those; --host-page, --iova-range and --max-mappings as for giommu replay
  --device BDF           the device of the group, as 0000:00:04.0; needed where it has several
  --ram SIZE             the guest's RAM from address 0; default: 1T, of which only what is mapped takes memory; sim: everything
  --coalesce POLICY      auto (the default: full where the host splits atomically, else none), none, call, full
  --allow-dma-holes      lets call and full take away live neighbours for a moment where the host cannot split; each is counted

What is done:
  --plan                 only plans by the limits that the host tells: nothing is mapped
  --verify-dma           lets the device (QEMU's edu; a simulated one) read and write through pages of every kind: first, last,
                         by permission, new, changed in place, unmapped, their neighbours, empty. What the guest's
                         tables allow must arrive there, everything else nowhere, and no kind may be left out

Where, and output:
  --at WHERE, --phb N, --liobn L, --window LIOBN=SIZE[/PAGE][@BUS], --json
                         as for giommu replay

A real host needs Linux, a device that vfio-pci holds, and the library that deno task build:host makes (docs/real-hosts.md); for
Deno --allow-ffi and, where it names the library, --allow-env=GIOMMU_HOST_LIBRARY.

SIZE: bytes, 0x hexadecimal, or with K, M, G, T.
Exit status: 0 guest, host and device agree, 1 something differs or was refused, 2 bad input or arguments, or no such host.
`;

/** The text of `giommu doctor --help`. */
export const DOCTOR_HELP = `giommu doctor: say what went wrong between guest, QEMU and host

Usage: giommu doctor LOG [--kernel LOG] [--stderr LOG] [options]

Follows what the guest wanted, what QEMU told its listeners, and what the host's IOMMU held, and reports where
they part: where, since which line, by which call of the guest, why, and what helps (docs/doctor.md has all findings).

The logs, of one run, each plain or .gz:
  LOG                    QEMU's, of -trace 'spapr_iommu_*' -trace 'vfio_*' (x86: -trace 'vtd_*' or 'virtio_iommu_*')
  --kernel LOG           the kernel's: the events iommu:map, iommu:unmap and iommu:io_page_fault of tracefs
  --stderr LOG           what QEMU printed; without the kernel's log, the only place where failed maps show

Options:
  --iova ADDR            tell the history of this bus address: in the guest, in QEMU, on the host
  --at WHERE             look no further than line 1234, timestamp 1795217436.442317, 50% of the bytes, or the end of
                         the replay of the log's first or second hotplug (hotplug, hotplug:2); default: the end
  --window LIOBN=SIZE[/PAGE][@BUS]
                         geometry that the log does not tell (may be repeated), for example 0x80000000=2G/64K@0
  --json                 one JSON object on standard output

Exit status: 0 healthy, 1 a finding is an error, 2 bad input or arguments.
`;

/** The text of `giommu check --help`. */
export const CHECK_HELP = `giommu check: compare every translation that QEMU logged with the rebuilt tables

Usage: giommu check INPUT [options]

Rebuilds the guest's tables from the calls in the log and compares each spapr_iommu_xlate line with them. An answer about an
entry that the log had not told is learned, and later answers are compared with it.

Options:
  --state STREAM         a migration stream to compare the end state with, entry by entry
  --window LIOBN=SIZE[/PAGE][@BUS]
                         geometry that the log does not tell (may be repeated), for example 0x80000000=2G/64K@0
  --json                 one JSON object on standard output

SIZE: bytes, 0x hexadecimal, or with K, M, G, T.
Exit status: 0 all agrees, 1 something differs, 2 bad input or arguments.
`;

/** The text of `giommu conformance --help`. */
export const CONFORMANCE_HELP = `giommu conformance: do what recorded guests did to QEMU, and compare every answer

Usage: giommu conformance FILE|FOLDER... [options]

A recording is one scenario as JSON lines: the machine's facts, one operation per line with what QEMU answered, the windows
at the end (tests/data/vectors/README.md defines the fields). Of a folder all files that end in .jsonl are played. Each runs
on a machine of its own; every recorded field is compared, and an operation or a field that is not known is a failure.

Each scenario counts its operations, one more for what the machine tells of itself before them (fdt_dma_windows and the
other facts), and one for final_windows.

Options:
  --json                 one JSON object on standard output, with all differences

Exit status: 0 every operation agrees, 1 one does not, 2 bad input or arguments.
`;

/** The text of `giommu diff --help`. */
export const DIFF_HELP = `giommu diff: compare two states of a guest's tables

Usage: giommu diff A B [options]
       giommu diff LOG --at-a WHERE --at-b WHERE

A and B are QEMU logs or migration streams, one of them may be standard input (-). Of each bus address is compared where it
leads and what a device may do there. Pages that one of the two does not tell are counted and never different; a table that one
of them lacks has nothing mapped there.

Options:
  --at-a WHERE           in A: after line 1234, at timestamp 1795217436.442317, after 50% of the bytes, at the log's own VFIO
                         hotplug (hotplug, hotplug:2) or at its end (end, the default)
  --at-b WHERE           the same in B
  --at WHERE             the same for whichever has none of its own
  --window LIOBN=SIZE[/PAGE][@BUS]
                         geometry that a log does not tell (may be repeated), for example 0x80000000=2G/64K@0
  --json                 one JSON object on standard output, with all ranges that differ (at most 100,000)

SIZE: bytes, 0x hexadecimal, or with K, M, G, T.
Exit status: 0 every page that both tell is the same, 1 something differs, 2 bad input or arguments.
`;

/** The text of `giommu export --help`. */
export const EXPORT_HELP = `giommu export: write a log for the tools that people already use

Usage: giommu export LOG --format perfetto|csv|jsonl|parquet [--output FILE]

Formats:
  perfetto               a trace (JSON) for https://ui.perfetto.dev: the guest's calls, QEMU's replays and what it asks its host
                         for as tracks, mapped pages and host maps as counters; needs timestamps (-msg timestamp=on)
  csv, jsonl, parquet    a row each, all with the same columns: for DuckDB, pandas, Spark; 64-bit values are hexadecimal text
                         in csv and jsonl, unsigned integers in parquet

Options:
  --rows events          one row per event (the default): line, time_us (microseconds since 1970), thread, event, liobn, iova and
                         last (bus addresses, both included), pages, target, perm, value (of an entry), ret, what, more
  --rows lifetimes       one row per mapping: liobn, iova, last, pages, target, perm, from_line, from_time_us, from_event (what
                         made it, or the translation that revealed it), to_line, to_time_us, to_event (what ended it; empty
                         if nothing did)
  --output FILE          write there, and only once it is complete; default: standard output. A name that ends in .csv, .jsonl
                         or .parquet says the format, too
  --window LIOBN=SIZE[/PAGE][@BUS]
                         geometry that the log does not tell (may be repeated), for example 0x80000000=2G/64K@0
  --json                 one JSON object on standard output about what was written to FILE

SIZE: bytes, 0x hexadecimal, or with K, M, G, T.
Exit status: 0 written, 2 bad input or arguments.
`;
