/** How many host maps and calls guest pages need, under each coalescing policy: of recordings, and of guests made up here. */

import { openInput, RebuiltMachine } from "@giommu/qemu-trace";
import { SpaprPhb } from "@giommu/spapr-tce";
import { countMaps, SimulatedHost, VfioContainer } from "@giommu/vfio-sync";

/** One guest. */
export interface HostMaps {
  readonly guest: string;
  readonly pages: number;
  readonly maps: { readonly none: number; readonly call: number; readonly full: number };
  /** Calls that an attach makes on a host that can split mappings, and on one that cannot. */
  readonly calls: { readonly atomic: number; readonly none: number };
}

const RECORDINGS = ["hotplug-1g-4k", "hotplug-linux", "hotplug-two-windows", "hotplug-vtd"];

/** All guests. */
export async function hostMaps(): Promise<HostMaps[]> {
  const found: HostMaps[] = [];
  for (const name of RECORDINGS) found.push(...await recorded(name));
  found.push(ringBuffers(), linear(), scattered());
  return found;
}

async function recorded(name: string): Promise<HostMaps[]> {
  await using input = await openInput(new URL(`../tests/data/logs/${name}.log.gz`, import.meta.url));
  const machine = new RebuiltMachine();
  try {
    for (let stop = await machine.read(input); stop !== "hotplug"; stop = await machine.read(input)) {
      if (stop === "end") return [];
    }
    const bridge = machine.bridge(0);
    return [counted(`recording ${name}`, bridge)];
  } finally {
    machine[Symbol.dispose]();
  }
}

function counted(guest: string, { space, windows }: Pick<SpaprPhb, "space" | "windows">): HostMaps {
  const calls = { atomic: 0, none: 0 };
  for (const split of ["atomic", "none"] as const) {
    const host = new SimulatedHost({ split });
    const container = new VfioContainer({ host });
    container.attach(space);
    calls[split] = container.counters.maps;
    container.detach();
  }
  return {
    guest,
    pages: windows.reduce((pages, window) => pages + window.mapped, 0),
    maps: countMaps(space),
    calls,
  };
}

function bridge(pages: number): SpaprPhb {
  return new SpaprPhb({ index: 0, dmaWindow: { size: BigInt(pages) << 12n } });
}

function firstWindow(phb: SpaprPhb) {
  const [window] = phb.windows;
  if (window === undefined) throw new Error("a bridge has its default window");
  return window;
}

/** Like Linux's network drivers: rings of 256 entries in one piece each, buffers of one page each, mapped call by call. */
function ringBuffers(): HostMaps {
  const phb = bridge(2 ** 18);
  const window = firstWindow(phb);
  for (let ring = 0; ring < 16; ring++) {
    const first = ring * 320;
    for (let page = 0; page < 4; page++) {
      window.putTce(BigInt(first + page) << 12n, BigInt(0x1000 + first + page) << 12n | 3n);
    }
    for (let page = 0; page < 256; page++) {
      window.putTce(BigInt(first + 8 + page) << 12n, BigInt((page * 7919 + ring * 104729) % 2 ** 18) << 12n | 1n);
    }
  }
  return counted("ring buffers of a network card, made up", phb);
}

/** 64 GiB mapped linearly, as Linux does into a large window. */
function linear(): HostMaps {
  const phb = new SpaprPhb({ index: 0, dmaWindow: false });
  const window = phb.addWindow({ busOffset: 1n << 59n, pageShift: 16, size: 1n << 36n });
  for (let page = 0; page < 2 ** 20; page++) {
    window.putTce((1n << 59n) + (BigInt(page) << 16n), BigInt(page) << 16n | 3n);
  }
  return counted("64 GiB mapped linearly in pages of 64 KiB, made up", phb);
}

/** The worst: no two pages adjoin. */
function scattered(): HostMaps {
  const phb = bridge(2 ** 16);
  const window = firstWindow(phb);
  for (let page = 0; page < 2 ** 14; page++) window.putTce(BigInt(2 * page) << 12n, BigInt(3 * page) << 12n | 3n);
  return counted("no two pages adjoin, made up", phb);
}
