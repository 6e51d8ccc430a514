/** How costs grow with the work, and that nothing grows with what is not mapped: the curves in docs/performance. */

import { RawTceTable } from "@giommu/core/wasm/table";
import { registerNotifier, replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { SpaprMachine, SpaprPhb, type TceTable } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { type Curve, plot } from "./plot.ts";

/** A picture of the page. */
export interface Picture {
  readonly file: string;
  readonly alt: string;
  readonly svg: string;
}

/** The least of a few rounds, in microseconds. */
function microseconds(work: () => void, rounds = 5): number {
  let least = Infinity;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    work();
    least = Math.min(least, performance.now() - start);
  }
  return Math.max(least * 1e3, .1);
}

const listener = () => new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });

/** A bridge whose window of 2^`shift` entries has `extents` single pages, far from each other. */
function bridge(shift: number, extents: number): [SpaprPhb, TceTable] {
  const phb = new SpaprPhb({ index: 0, dmaWindow: false });
  const window = phb.addWindow({ size: 1n << BigInt(shift + 12) });
  spread(window, extents);
  return [phb, window];
}

function spread(window: TceTable, extents: number): void {
  const step = Math.max(Math.floor(window.entries / extents), 2);
  for (let at = 0; at < extents; at++) {
    window.putTce(BigInt(at * step) << 12n, BigInt(3 * at) << 12n | 3n);
  }
}

/** Against the size of the table: always 1000 extents. */
function bySize(): Picture {
  const curves: Record<string, [number, number][]> = { replay: [], attach: [], verify: [], save: [], unmap: [] };
  for (const shift of [12, 15, 18, 21, 24, 27, 31]) {
    const [phb, window] = bridge(shift, 1000);
    const container = new VfioContainer({ host: new SimulatedHost() });
    const add = (name: string, time: number) => curves[name]?.push([2 ** shift, time]);
    add("replay", microseconds(() => void replay(window.region, listener()), 20));
    add(
      "attach",
      microseconds(() => {
        if (container.space !== undefined) container.detach();
        container.attach(phb.space);
      }),
    );
    add("verify", microseconds(() => void verify(container)));
    container.detach();
    add(
      "unmap",
      microseconds(() => {
        window.reset();
        spread(window, 1000);
      }),
    );
    const machine = new SpaprMachine({ ram: 1n << 20n, phbs: [{ index: 0, dmaWinSize: 1n << BigInt(shift + 12) }] });
    const [table] = machine.tables;
    if (table !== undefined) spread(table, 1000);
    add("save", microseconds(() => void machine.save()));
    machine[Symbol.dispose]();
    phb[Symbol.dispose]();
  }
  return {
    file: "by-size.svg",
    alt:
      "Costs against the size of the table, 1000 extents mapped: replay, attach and verify are flat from 2^12 to 2^31 entries; " +
      "unmap and save grow with the leaves that 1000 far extents lie in, 8 at first and 1000 at last",
    svg: plot("1000 extents in tables of any size", "entries of the table", "microseconds", toCurves(curves)),
  };
}

/** Against the number of extents, in a table of 2^24 entries. */
function byExtents(most: number): Picture {
  const curves: Record<string, [number, number][]> = { replay: [], attach: [], verify: [], save: [], put: [] };
  for (let extents = 1; extents <= most; extents *= 10) {
    const [phb, window] = bridge(24, extents);
    const container = new VfioContainer({ host: new SimulatedHost() });
    const add = (name: string, time: number) => curves[name]?.push([extents, time]);
    const rounds = extents >= 1e5 ? 1 : 5;
    add("replay", microseconds(() => void replay(window.region, listener()), rounds));
    add("put", microseconds(() => void window.putTce(0x1000n, 3n), 50));
    window.putTce(0x1000n, 0n);
    add(
      "attach",
      microseconds(() => {
        if (container.space !== undefined) container.detach();
        container.attach(phb.space);
      }, rounds),
    );
    add("verify", microseconds(() => void verify(container), rounds));
    const machine = new SpaprMachine({ ram: 1n << 20n, phbs: [{ index: 0, dmaWinSize: 1n << 36n }] });
    const [table] = machine.tables;
    if (table !== undefined) spread(table, extents);
    add("save", microseconds(() => void machine.save(), rounds));
    machine[Symbol.dispose]();
    container[Symbol.dispose]();
    phb[Symbol.dispose]();
  }
  return {
    file: "by-extents.svg",
    alt: "Costs against the number of extents: all grow in proportion but the put of one page, which is flat",
    svg: plot("a table of 2^24 entries", "extents, none of which adjoin", "microseconds", toCurves(curves)),
  };
}

/** Bytes per mapped entry: dense, and one entry in each leaf at worst. */
function memory(): Picture {
  const curves: Record<string, [number, number][]> = { "neighbours": [], "far apart": [] };
  for (let mapped = 100; mapped <= 1e7; mapped *= 10) {
    for (const [name, points] of Object.entries(curves)) {
      const entries = 2 ** 26;
      const step = name === "neighbours" ? 1 : Math.floor(entries / mapped);
      // What the core holds is no business of who uses the packages: the raw table tells.
      using table = new RawTceTable(1, 0n, 12, entries, mapped);
      table.setQuiet(true);
      for (let at = 0; at < mapped; at++) table.putTce(BigInt(at * step) << 12n, BigInt(2 * at) << 12n | 3n);
      points.push([mapped, table.memoryBytes / mapped]);
    }
  }
  return {
    file: "memory.svg",
    alt: "Bytes per mapped entry: near 8.3 for neighbours, up to 13 KiB for entries that are far apart",
    svg: plot("memory of a table of 2^26 entries", "mapped entries", "bytes per mapped entry", toCurves(curves)),
  };
}

/** A put against who listens. */
function byListeners(): Picture {
  const curves: Record<string, [number, number][]> = { notifiers: [], containers: [] };
  const puts = 2000;
  for (const count of [1, 2, 4, 8, 16, 32, 64]) {
    const [phb, window] = bridge(16, 1);
    for (let at = 0; at < count; at++) {
      registerNotifier(window.region, new IommuNotifier({ flags: IommuNotifierFlag.IOTLB_EVENTS, notify: () => {} }));
    }
    curves["notifiers"]?.push([count, putTime(window, puts)]);
    phb[Symbol.dispose]();
  }
  for (const count of [1, 2, 4, 8]) {
    const [phb, window] = bridge(16, 1);
    const containers = Array.from({ length: count }, () => {
      const container = new VfioContainer({ host: new SimulatedHost() });
      container.attach(phb.space);
      return container;
    });
    curves["containers"]?.push([count, putTime(window, puts)]);
    for (const container of containers) container[Symbol.dispose]();
    phb[Symbol.dispose]();
  }
  return {
    file: "by-listeners.svg",
    alt: "Microseconds per put against notifiers and containers: both grow in proportion",
    svg: plot("H_PUT_TCE with listeners", "listeners", "microseconds per call", toCurves(curves)),
  };
}

function putTime(window: TceTable, puts: number): number {
  let map = false;
  return microseconds(() => {
    map = !map;
    for (let page = 1; page <= puts; page++) {
      window.putTce(BigInt(page) << 12n, map ? BigInt(2 * page) << 12n | 3n : 0n);
    }
  }, 8) / puts;
}

function toCurves(curves: Record<string, [number, number][]>): Curve[] {
  return Object.entries(curves).map(([name, points]) => ({ name, points }));
}

/** All pictures. */
export function growth(): Picture[] {
  return [bySize(), byExtents(1e6), memory(), byListeners()];
}
