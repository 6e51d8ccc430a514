import { assertEquals, assertRejects } from "@std/assert";
import { applySettings, settingsOf } from "../../tools/jsr_settings.ts";
import { packages } from "../../tools/packages.ts";
import { LocalRegistry } from "../../tools/registry/registry.ts";

Deno.test("JSR is told each setting of each package once, and nothing that it knows", async () => {
  await using registry = new LocalRegistry();
  for (const entry of packages()) {
    const wanted = settingsOf(entry);
    const all = ["description", "runtimeCompat", "readmeSource"];
    assertEquals(await applySettings(registry.url, "token", entry.name, wanted), all);
    assertEquals(await applySettings(registry.url, "token", entry.name, wanted), []);
    const other = { ...wanted, description: "Something else" };
    assertEquals(await applySettings(registry.url, "token", entry.name, other), ["description"]);
  }
});

Deno.test("a registry that refuses is told of", async () => {
  const server = Deno.serve({ port: 0, onListen: () => {} }, () => new Response("who are you?", { status: 401 }));
  const settings = { description: "", runtimeCompat: {}, readmeSource: "readme" } as const;
  const jsr = `http://127.0.0.1:${server.addr.port}/`;
  await assertRejects(() => applySettings(jsr, "", "core", settings), Error, "answered 401\nwho are you?");
  await server.shutdown();
});
