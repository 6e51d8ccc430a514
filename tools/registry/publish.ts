/** Publishes the packages of this checkout by `deno publish` itself: what is published, and in which form, is Deno's to decide. */

import { filesBelow, ROOT } from "../repository.ts";
import { deno } from "../spawn.ts";
import { LocalRegistry } from "./registry.ts";
import { addStd, STD_ON_JSR } from "./std.ts";

/** A registry that has all packages, and what they import of @std. The caller disposes of it. */
export async function publishedRegistry(port = 0): Promise<LocalRegistry> {
  const registry = new LocalRegistry(port);
  try {
    addStd(registry);
    await publishInto(registry);
    return registry;
  } catch (error) {
    await registry[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Publishes all packages. They go from a copy, whose import map takes @std from JSR as it will once JSR can be reached, and
 * which holds nothing that packages may not need.
 */
async function publishInto(registry: LocalRegistry): Promise<void> {
  const copy = Deno.makeTempDirSync({ prefix: "giommu-publish-" });
  try {
    for (const path of filesBelow("packages")) {
      Deno.mkdirSync(`${copy}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      Deno.copyFileSync(`${ROOT}/${path}`, `${copy}/${path}`);
    }
    const { workspace, compilerOptions: { types: _, ...compilerOptions } } = JSON.parse(
      Deno.readTextFileSync(`${ROOT}/deno.json`),
    );
    Deno.writeTextFileSync(`${copy}/deno.json`, JSON.stringify({ workspace, compilerOptions, imports: STD_ON_JSR }));
    // Types are checked by the gate, where everything is at hand; slow types are looked for all the same.
    const ended = await deno(["publish", "--token", "local", "--no-check", "--no-lock"], {
      cwd: copy,
      env: { JSR_URL: registry.url, DENO_DIR: `${copy}/.deno` },
    });
    if (!ended.ok) throw new Error(`Cannot publish to a local registry: deno publish failed\n${ended.text}`);
  } finally {
    Deno.removeSync(copy, { recursive: true });
  }
}
