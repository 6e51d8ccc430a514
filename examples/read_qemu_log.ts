// deno run --allow-read=tests examples/read_qemu_log.ts
//
// Reads a QEMU log event by event, then once more as a machine: who used which table how much, and what QEMU replayed to
// a device that was hotplugged. Give it a log of your own as argument (and leave to read it).
import { hex } from "@giommu/core";
import { openInput, readQemuLog, RebuiltMachine } from "@giommu/qemu-trace";

const path = Deno.args[0] ?? new URL("../tests/data/logs/hotplug-linux.log.gz", import.meta.url).pathname;

const events = new Map<string, number>();
for await (const { event } of readQemuLog(path)) events.set(event, (events.get(event) ?? 0) + 1);
console.log("Events:");
for (const [event, count] of [...events].sort(([, a], [, b]) => b - a)) {
  console.log(`  ${String(count).padStart(6)}  ${event}`);
}

await using input = await openInput(path);
using machine = new RebuiltMachine();
while (await machine.read(input) !== "end") {
  // A hotplug or an unplug: one could look at the tables, or attach a container, here.
}

console.log("\nTables at the end:");
for (const { liobn, entries, mapped, unknown } of machine.tables) {
  console.log(`  ${hex(liobn)}  ${mapped} of ${entries} entries mapped, ${unknown} unknown`);
}
for (const { line, liobns, comparison } of machine.hotplugs) {
  console.log(`\nHotplug at line ${line} onto ${liobns.map(hex).join(", ")}:`);
  console.log(
    `  QEMU replayed ${comparison?.replayed} pages; the tables rebuilt from the calls have ${comparison?.agreed}`,
  );
}
const { agreed, disagreed, learned } = machine.translations;
console.log(
  `\nQEMU's translations: ${agreed} agree with the tables, ${learned} taught something, ${disagreed} disagree`,
);
