// Every name that docs/from-qemu.md gives as ours has to be there.
import * as memoryApi from "@giommu/memory-api";
import { AddressSpace, IommuMemoryRegion, MemoryRegion } from "@giommu/memory-api";
import * as qemuTrace from "@giommu/qemu-trace";
import { SpaprMachine, SpaprPhb, TceTable } from "@giommu/spapr-tce";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);
const page = await Deno.readTextFile(new URL("docs/from-qemu.md", ROOT));

/** The code in the last column of the tables that have QEMU's name on the left. */
const names = page.split("## What is different")[0]!.split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("|---"))
  .flatMap((line) => {
    const [, , ours = ""] = line.split(/(?<!\\)\|/);
    return Array.from(ours.matchAll(/`([^`]+)`(?!\])/g), ([, code = ""]) => code);
  });

/** Everything that a package exports; of types and members, what is declared at the start of a line. */
async function declared(): Promise<Set<string>> {
  const found = new Set<string>([...Object.keys(memoryApi), ...Object.keys(qemuTrace)]);
  for await (const { name: folder } of Deno.readDir(new URL("packages/", ROOT))) {
    for await (const { name } of Deno.readDir(new URL(`packages/${folder}/`, ROOT))) {
      if (!name.endsWith(".ts") || name.startsWith("_") || name.endsWith("_test.ts")) continue;
      const text = await Deno.readTextFile(new URL(`packages/${folder}/${name}`, ROOT));
      const pattern =
        /^export (?:class|function\*?|async function|const|interface|type) (\w+)|^ {2}(?:readonly )?(\w+)\??[:(]/gm;
      for (const [, exported, member] of text.matchAll(pattern)) found.add(exported ?? member ?? "");
    }
  }
  return found;
}

Deno.test("every name of ours on the page for those who come from QEMU exists", async () => {
  using machine = new SpaprMachine({ ram: 0x1_0000n });
  using phb = new SpaprPhb({ index: 0 });
  using table = new TceTable({ liobn: 1, entries: 1 });
  using container = new VfioContainer({ host: new SimulatedHost() });
  const root = new MemoryRegion({ name: "root", size: 1n });
  using space = new AddressSpace("space", root);
  const region = new IommuMemoryRegion({ name: "iommu", size: 1n, translate: () => undefined });
  const objects: Readonly<Record<string, object>> = {
    ...{ machine, phb, table, container, root, space, region, host: container.host },
  };
  const all = await declared();
  const missing = names.filter((code) => {
    const [first = "", second] = code.replace(/^1 << /, "").split(/[.(]/);
    const object = objects[first];
    if (object !== undefined) return second === undefined || !(second in object);
    return !all.has(first);
  });
  assertEquals(missing, []);
  assert(names.length > 100, String(names.length));
});
