import { assert, assertEquals } from "@std/assert";
import { reach } from "./attach_point.ts";
import { Hotplug } from "./hotplug.ts";
import { parseReplayOptions } from "./options.ts";
import { Session } from "./session.ts";
import { SimulatedPlug } from "./simulated_plug.ts";

const LOG = new URL("../../tests/data/logs/hotplug-1g-4k.log.gz", import.meta.url).pathname;

/** Replays the bundled recording, lets somebody change the host behind the container's back, and compares. */
async function verified(corrupt: (host: SimulatedPlug["host"]) => void): Promise<ReturnType<Hotplug["verify"]>> {
  const options = parseReplayOptions([LOG]);
  await using session = await Session.open(options);
  const point = await reach(session, options.at);
  using plug = new SimulatedPlug({ rules: "none", choice: options, ram: undefined, hasBytes: false });
  using hotplug = new Hotplug({ session, choice: options, index: 0, point, plug, allowDmaHoles: true });
  assertEquals(hotplug.attach().attached, true);
  await hotplug.follow();
  corrupt(plug.host);
  return hotplug.verify();
}

const PAGE = { start: 0x300_0000n, last: 0x300_0fffn };

Deno.test("A host that nobody touched agrees", async () => {
  const { missing, stale, differing, differences } = await verified(() => {});
  assertEquals([missing, stale, differing, differences.length], [0, 0, 0, 0]);
});

Deno.test("A host mapping that vanished behind the container's back is missing, and named", async () => {
  const { missing, stale, differing, differences: [first] } = await verified((host) => void host.unmap(PAGE));
  assertEquals([missing, stale, differing], [1, 0, 0]);
  assertEquals([first?.kind, first?.range, first?.guest, first?.host], ["missing", PAGE, 0x300_0000n, undefined]);
});

Deno.test("A host mapping that points elsewhere differs, and both targets are told", async () => {
  const { missing, stale, differing, differences: [first] } = await verified((host) => {
    host.unmap(PAGE);
    host.map({ iova: PAGE, gpa: 0xbad_0000n, perm: 1 });
  });
  assertEquals([missing, stale, differing], [0, 0, 1]);
  assertEquals([first?.kind, first?.guest, first?.host], ["differing", 0x300_0000n, 0xbad_0000n]);
});

Deno.test("A host mapping with more permission than the guest gave differs", async () => {
  const { differing } = await verified((host) => {
    host.unmap(PAGE);
    host.map({ iova: PAGE, gpa: 0x300_0000n, perm: 3 });
  });
  assertEquals(differing, 1);
});

Deno.test("A host mapping that no guest entry explains is stale, and named", async () => {
  const stray = { start: 0x2000_0000n, last: 0x2000_0fffn };
  const { stale, differences: [first] } = await verified((host) => host.map({ iova: stray, gpa: 0x1000n, perm: 3 }));
  assert(stale === 1 && first !== undefined);
  assertEquals([first.kind, first.range, first.host], ["stale", stray, 0x1000n]);
});
