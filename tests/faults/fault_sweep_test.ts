// The k-th host call fails, for every k, every kind of change and every error: the state after it is the state before it, or
// the documented one. The same sweep runs before a real backend.
import { memory } from "@giommu/core/wasm/spapr";
import { SimulatedHost, SimulatedSpaprHost } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { CHANGES, prepare } from "./changes.ts";
import { Machine } from "./machine.ts";
import { changesOn, ERRNOS, sweep, type SweptHost } from "./sweep.ts";

const HOSTS: readonly SweptHost[] = [
  { name: "none", open: () => new SimulatedHost() },
  { name: "type1", open: () => new SimulatedHost({ rules: "type1" }) },
  {
    name: "type1, full with holes",
    open: () => new SimulatedHost({ rules: "type1" }),
    options: { coalesce: "full", allowDmaHoles: true },
  },
  {
    name: "type1, full with a device that stops",
    open: () => new SimulatedHost({ rules: "type1" }),
    options: { coalesce: "full", quiesce: () => {} },
  },
  { name: "iommufd", open: () => new SimulatedHost({ rules: "iommufd" }) },
  { name: "iommufd that splits", open: () => new SimulatedHost({ rules: "iommufd", split: "atomic" }) },
  {
    name: "vfio-user",
    open: () => new SimulatedHost({ rules: "type1", unmapWide: false, name: "vfio-user" }),
  },
  { name: "spapr", open: () => new SimulatedSpaprHost(), highAt: 1n << 59n, hasRam: false },
];

for (const swept of HOSTS) {
  for (const change of changesOn(swept)) {
    Deno.test(`Host ${swept.name}: ${change.name}, whichever call fails, is as before or as documented`, () => {
      assertEquals(sweep(change, swept), []);
    });
  }
}

Deno.test("the sweep finds a host that does what it says it refuses", () => {
  // An UNMAP that is made although it is refused leaves the host as it should be: only what is named is too much.
  for (const change of CHANGES.filter(({ isRemoval }) => isRemoval !== true)) {
    const found = sweep(change, { name: "liar", open: () => new SimulatedHost({ rules: "type1" }), lies: true }, [
      "EIO",
    ]);
    assert(found.length > 0, change.name);
  }
});

Deno.test("1,000 plugs and unplugs with faults in every place leave nothing: no mapping, no notifier, no memory", () => {
  for (const { name, open, options = {}, highAt = 0x10_0000n, hasRam = true } of HOSTS) {
    using machine = new Machine({ host: open(), options, highAt, hasRam });
    prepare({ name, attaches: true, before: CHANGES[0]!.before!, act: () => undefined }, machine);
    const empty = machine.state().join("\n");
    let refused = 0;
    let grown = 0;
    for (let cycle = 0; cycle < 1000; cycle++) {
      machine.host.failIn(new Map([[1 + cycle % 17, ERRNOS[cycle % ERRNOS.length]!]]));
      try {
        machine.container.attach(machine.bus);
        machine.host.failIn(new Map());
        machine.container.detach();
      } catch (error) {
        refused++;
        assert(error instanceof Error);
      }
      assertEquals(machine.container.failed, undefined, `cycle ${cycle} on ${name}`);
      assertEquals(machine.state().join("\n"), empty, `cycle ${cycle} on ${name}`);
      if (cycle === 200) grown = memory().buffer.byteLength;
    }
    assert(refused > 50, `${refused} were refused on ${name}`);
    assertEquals(memory().buffer.byteLength, grown, `the core's memory grows on ${name}`);
  }
});
