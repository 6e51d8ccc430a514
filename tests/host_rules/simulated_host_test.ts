// The simulators answer every case as the kernels were seen to do; the same cases run on a real kernel in the VM.
import { RamRegion } from "@giommu/memory-api";
import type { SimulatedHostOptions } from "@giommu/vfio-sync";
import { SimulatedHost } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import type { HostKind } from "./cases.ts";
import { HOST_KINDS, HOST_RULE_CASES, RAM_BYTES } from "./cases.ts";
import type { HostUnderTest } from "./run_cases.ts";
import { casesOf, runHostRule, runHostRules } from "./run_cases.ts";

const OPTIONS: Readonly<Record<HostKind, SimulatedHostOptions>> = {
  type1: { rules: "type1" },
  iommufd: { rules: "iommufd" },
  "iommufd-split": { rules: "iommufd", split: "atomic" },
};

function open(kind: HostKind, more: SimulatedHostOptions = {}): HostUnderTest & { readonly host: SimulatedHost } {
  const ram = new RamRegion({ name: "ram", size: RAM_BYTES });
  return { host: new SimulatedHost({ ...OPTIONS[kind], ...more }), ram, [Symbol.dispose]() {} };
}

for (const kind of HOST_KINDS) {
  for (const one of casesOf(kind)) {
    Deno.test(`SimulatedHost of ${kind}: ${one.name}`, () => {
      using subject = open(kind);
      assertEquals(runHostRule(one, kind, subject), []);
      assertEquals(subject.host.size, 0, "every case ends with nothing mapped");
    });
  }
}

Deno.test("every case concerns some kind of host, and names are unique", () => {
  assertEquals(new Set(HOST_RULE_CASES.map(({ name }) => name)).size, HOST_RULE_CASES.length);
  assertEquals(new Set(HOST_KINDS.flatMap(casesOf)).size, HOST_RULE_CASES.length);
});

Deno.test("the cases find a host that answers as another kind does", () => {
  assert(
    runHostRules("iommufd", () => open("type1")).some((line) => line.includes("answered EINVAL, expected ENOENT")),
  );
  assert(runHostRules("type1", () => open("iommufd")).length > 5);
  assert(runHostRules("type1", () => open("type1", { maxMappings: 100 })).length === 1);
  // One that forgets that the maps before a part are gone.
  assert(runHostRules("iommufd", () => open("iommufd-split")).length > 3);
});
