/** The text of `giommu --help`. */
export const HELP = `giommu: keeps a host's IOMMU in step with a guest's, and shows it on recordings of real systems

Usage: giommu COMMAND INPUT [options]

Commands:
  replay   rebuild the guest's tables, hotplug a device on a simulated host, replay, follow, verify
  check    compare every translation that QEMU logged with the rebuilt tables
  hotplug  the same guest with real memory, and a real device: plan, attach, follow, verify, detach

INPUT is a QEMU log or a migration stream, told apart by content, plain or .gz; - is standard input.
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

/** The text of `giommu hotplug --help`. */
export const HOTPLUG_HELP = `giommu hotplug: plug a real device into a recorded guest, follow the log, verify, detach

Usage: giommu hotplug INPUT --host vfio:GROUP|iommufd:DEVICE|sim [options]

Rebuilds the guest's tables up to WHERE, gives the guest real memory, plans, attaches the host's container to the PCI host bridge,
goes on with the rest of the log as live updates, compares guest and host, and detaches.

Where and what:
  --at WHERE, --phb N, --liobn L, --window LIOBN=SIZE[/PAGE][@BUS]
                         as giommu replay
  --ram SIZE             the guest's RAM from address 0; default 4G: what is not mapped for devices takes no memory

The host (deno task build:host makes the library; docs/real-hosts.md tells how a device is given to vfio-pci):
  --host vfio:GROUP      a VFIO container with the IOMMU group of this number
  --host iommufd:DEVICE  an I/O address space with the device of this PCI address, or of this name in /dev/vfio/devices
  --host sim             a simulated host, the default
  --device BDF           the device of the group; default: its first
  --coalesce POLICY      auto (the default: full where the host splits atomically, else none), none, call, full; where a part
                         of a mapping cannot go, the device's bus mastering is switched off meanwhile

What is done:
  --plan                 only the plan: what would be mapped, and what stands against it
  --verify-dma           lets the device (QEMU's edu) read and write through a sample of the mappings of every kind
  --json                 one JSON object on standard output

Exit status: 0 guest, host and device agree, 1 something differs or was refused, 2 bad input or arguments.
`;
