// deno task vm deno run -A bench/vm/recorded_hotplug.ts
//
// How long a device's hotplug into a recorded guest takes on the kinds of real host, and how many of their calls: the same
// table that QEMU replayed when it was recorded. In milliseconds; the first attach of a process is told apart, as the
// JavaScript engine has compiled nothing then. Runs in the VM; with a kernel that has iommufd, see GIOMMU_VM_KERNEL.
import type { AddressRange } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { openInput, RebuiltMachine } from "@giommu/qemu-trace";
import { Iommufd, LinuxVfio, PinnedMemory } from "@giommu/vfio-linux";
import type { HostIommu, HostMapping } from "@giommu/vfio-sync";
import { VfioContainer } from "@giommu/vfio-sync";

const DEVICE = "0000:00:04.0";
const LOG = new URL("../../tests/data/logs/hotplug-1g-4k.log.gz", import.meta.url);
const TURNS = 20;
const KINDS: readonly (readonly [string, () => LinuxVfio | Iommufd])[] = [
  ["type1", () => new LinuxVfio({ device: DEVICE })],
  ...hasIommufd()
    ? [
      ["iommufd", () => new Iommufd({ device: DEVICE })],
      ["iommufd, huge pages", () => new Iommufd({ device: DEVICE, hugePages: true })],
    ] as const
    : [],
];

/** A host whose time in calls counts. */
class TimedHost implements HostIommu {
  readonly info: HostIommu["info"];
  milliseconds = 0;
  readonly #host: LinuxVfio | Iommufd;

  constructor(host: LinuxVfio | Iommufd) {
    this.#host = host;
    this.info = host.info;
  }

  map(mapping: HostMapping): void {
    this.#timed(() => this.#host.map(mapping));
  }

  mapAll(mappings: readonly HostMapping[]): ReturnType<LinuxVfio["mapAll"]> {
    return this.#timed(() => this.#host.mapAll(mappings));
  }

  unmap(range: AddressRange): bigint {
    return this.#timed(() => this.#host.unmap(range));
  }

  #timed<T>(call: () => T): T {
    const start = performance.now();
    try {
      return call();
    } finally {
      this.milliseconds += performance.now() - start;
    }
  }
}

for (const [name, open] of KINDS) {
  using memory = new PinnedMemory({ size: 1n << 30n });
  using system = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: memory.size, memory }) });
  await using input = await openInput(LOG);
  using machine = new RebuiltMachine();
  while (await machine.read(input) !== "hotplug");
  using bridge = machine.bridge(0, { memory: system });
  using real = open();
  const host = new TimedHost(real);
  const attaches: number[] = [];
  const calls: number[] = [];
  for (let turn = 0; turn <= TURNS; turn++) {
    using container = new VfioContainer({ host });
    host.milliseconds = 0;
    attaches.push(container.attach(bridge.space).nanoseconds / 1e6);
    calls.push(host.milliseconds);
    if (turn < TURNS) continue;
    const { maps } = container.counters;
    const [first = 0, ...later] = attaches;
    const [firstCalls = 0, ...laterCalls] = calls;
    console.log(
      `${name.padEnd(20)} ${maps} maps; first attach ${first.toFixed(0)}, ${
        firstCalls.toFixed(0)
      } of it in the kernel; ` +
        `median of ${TURNS} more ${median(later)}, ${median(laterCalls)} of it in the kernel`,
    );
  }
}

function median(times: number[]): string {
  return (times.sort((a, b) => a - b)[times.length >> 1] ?? 0).toFixed(0);
}

function hasIommufd(): boolean {
  try {
    return Deno.statSync("/dev/iommu").isCharDevice === true;
  } catch {
    return false;
  }
}
