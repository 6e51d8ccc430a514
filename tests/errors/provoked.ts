// Every stable error code, brought about as a program would meet it.
import type { IommuErrorCode } from "@giommu/core";
import {
  AddressSpace,
  IommuMemoryRegion,
  RamRegion,
  registerNotifier,
  replayAsync,
  startReplay,
} from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { SpaprMachine, SpaprPhb, TceTable } from "@giommu/spapr-tce";
import { parseRecording } from "@giommu/testing";
import { HOST_RULES, SimulatedHost, type SimulatedHostOptions, verify, VfioContainer } from "@giommu/vfio-sync";

/** A bus whose guest has mapped some pages that do not adjoin. */
function busWith(pages: number): SpaprPhb {
  const phb = new SpaprPhb({ index: 0 });
  for (let page = 0n; page < BigInt(pages); page++) phb.windows[0]?.putTce(page << 12n, 0x10_0003n + (page << 13n));
  return phb;
}

/** A container on a simulated host, attached to a bus. */
function attached(phb: SpaprPhb, options: SimulatedHostOptions): { host: SimulatedHost; container: VfioContainer } {
  const host = new SimulatedHost(options);
  const container = new VfioContainer({ host });
  container.attach(phb.space);
  return { host, container };
}

function tableOf(phb: SpaprPhb): TceTable {
  const [table] = phb.windows;
  if (table === undefined) throw new Error("a bridge has its default window");
  return table;
}

const NOBODY = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });

/**
 * Brings each code about: what a function throws, or returns, is the error. Those that are missing cannot be brought about
 * by a test that others run beside: the page says why.
 */
export const PROVOKED: Readonly<Partial<Record<IommuErrorCode, () => unknown>>> = {
  "disposed"() {
    const table = new TceTable({ liobn: 0x8000_0000, entries: 16 });
    table[Symbol.dispose]();
    table.putTce(0n, 3n);
  },
  "duplicate-liobn"() {
    using machine = new SpaprMachine({ ram: 0x1_0000n, phbs: [{ index: 0 }] });
    machine.addPhb({ index: 0 });
  },
  "mapping-limit"() {
    using phb = busWith(70);
    using container = new VfioContainer({ host: new SimulatedHost({ rules: "type1", maxMappings: 64 }) });
    container.attach(phb.space);
  },
  "iova-out-of-range"() {
    using phb = busWith(0);
    phb.addWindow({ busOffset: 1n << 59n, size: 1n << 40n, pageShift: 16 });
    using container = new VfioContainer({ host: new SimulatedHost({ rules: "type1" }) });
    container.attach(phb.space);
  },
  "page-too-fine"() {
    using phb = busWith(1);
    using container = new VfioContainer({ host: new SimulatedHost({ pageSize: 0x1_0000n }) });
    container.attach(phb.space);
  },
  "overlap"() {
    using phb = busWith(1);
    const host = new SimulatedHost({ rules: "type1" });
    host.map({ iova: { start: 0n, last: 0xfffn }, gpa: 0n, perm: 1 }); // somebody else uses it, too
    using container = new VfioContainer({ host });
    container.attach(phb.space);
  },
  "not-ram"() {
    using memory = new AddressSpace("memory", new RamRegion({ name: "ram", size: 0x10_0000n }));
    using phb = new SpaprPhb({ index: 0, memory });
    tableOf(phb).putTce(0x5000n, 0x4000_0003n);
    using container = new VfioContainer({ host: new SimulatedHost() });
    container.attach(phb.space);
    return container.problems[0];
  },
  "mapping-lost"() {
    using phb = busWith(1);
    const { host, container } = attached(phb, {});
    using _container = container;
    host.failWhen({ call: ({ call }) => call === "MAP", errno: "ENOMEM" }); // the new page, and the old one again
    return tableOf(phb).putTce(0n, 0x70_0003n).error;
  },
  "unmap-failed"() {
    using phb = busWith(1);
    const { host, container } = attached(phb, {});
    using _container = container;
    host.failWhen({ call: ({ call }) => call === "UNMAP", errno: "EIO" });
    const { error } = tableOf(phb).putTce(0n, 0n);
    host.failNoMore();
    return error;
  },
  "rollback-failed"() {
    using phb = busWith(2);
    const host = new SimulatedHost({ failAt: [{ call: 2, errno: "ENOMEM" }] });
    host.failWhen({ call: ({ call }) => call === "UNMAP", errno: "EIO" });
    using container = new VfioContainer({ host });
    try {
      return container.attach(phb.space); // the second MAP fails, and then the UNMAP of the first
    } catch (error) {
      host.failNoMore();
      return error;
    }
  },
  "backend-unavailable"() {
    using phb = busWith(1);
    const host = { info: { ...HOST_RULES.none, name: "far away" }, map: () => {}, unmap: () => 0x1000n };
    using container = new VfioContainer({ host });
    container.attach(phb.space);
    verify(container);
  },
  "snapshot-version"() {
    using machine = new SpaprMachine({ ram: 0x1_0000n, phbs: [{ index: 0 }] });
    const state = machine.save();
    const at = state.findIndex((byte, index) => index > 3 && byte === 1);
    state[at] = 99; // of a giommu of years to come
    machine.restore(state);
  },
  "entry-limit"() {
    using table = new TceTable({ liobn: 0x8000_0000, entries: 64, entryLimit: 8 });
    return table.stuffTce(0n, 3n, 9n).error;
  },
  "notifier-refused"() {
    using table = new TceTable({ liobn: 0x8000_0000, entries: 16 });
    registerNotifier(table.region, new IommuNotifier({ flags: IommuNotifierFlag.DEVIOTLB_UNMAP, notify: () => {} }));
  },
  "host-refused"() {
    using phb = busWith(3);
    const host = new SimulatedHost({ rules: "type1", failAt: [{ call: 2, errno: "ENOMEM" }] });
    using container = new VfioContainer({ host });
    container.attach(phb.space);
  },
  "dma-holes-not-allowed"() {
    new VfioContainer({ host: new SimulatedHost({ rules: "type1" }), coalesce: "full" });
  },
  "container-failed"() {
    using phb = busWith(1);
    const { host, container } = attached(phb, {});
    using _container = container;
    host.failWhen({ call: ({ call }) => call === "UNMAP", errno: "EIO" });
    tableOf(phb).putTce(0n, 0n); // unmap-failed: from here on the container is failed
    host.failNoMore();
    container.attach(phb.space);
  },
  async "replay-aborted"() {
    const endless = new IommuMemoryRegion({ name: "endless", size: 1n << 64n, translate: () => undefined });
    await replayAsync(endless, NOBODY, { signal: AbortSignal.timeout(1) });
  },
  "already-attached"() {
    using phb = busWith(1);
    using other = new AddressSpace("another bus", new RamRegion({ name: "ram", size: 0x1000n }));
    using container = attached(phb, {}).container;
    container.attach(other);
  },
  "bad-input"() {
    parseRecording("guest.jsonl", "{}");
  },
  "change-in-progress"() {
    using table = new TceTable({ liobn: 0x8000_0000, entries: 16 });
    let inside: unknown;
    const meddling = new IommuNotifier({
      flags: IommuNotifierFlag.MAP,
      notify() {
        try {
          table.putTce(0n, 0n);
        } catch (error) {
          inside = error;
        }
      },
    });
    registerNotifier(table.region, meddling);
    table.putTce(0n, 3n);
    return inside;
  },
  "replay-in-progress"() {
    const iommu = new IommuMemoryRegion({ name: "iommu", size: 0x1_0000n, translate: () => undefined });
    using _first = startReplay(iommu, NOBODY);
    startReplay(iommu, NOBODY);
  },
  "snapshot-mismatch"() {
    using machine = new SpaprMachine({ ram: 0x1_0000n, phbs: [{ index: 0 }] });
    using other = new SpaprMachine({ ram: 0x1_0000n, phbs: [{ index: 1 }] });
    other.restore(machine.save());
  },
};

/** The error that a code's function brings about. */
export async function provoke(code: IommuErrorCode): Promise<unknown> {
  try {
    return await PROVOKED[code]?.();
  } catch (error) {
    return error;
  }
}
