// The packages in a browser: a page with a plain module script and an import map onto the compiled JavaScript, nothing bundled.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Browser, chromium } from "playwright-core";
import { javascriptPath, npmForm } from "../../tools/registry/npm_form.ts";
import { publishedRegistry } from "../../tools/registry/publish.ts";
import type { Published } from "../../tools/registry/published.ts";
import { npmName } from "../../tools/registry/specifiers.ts";
import { ROOT } from "../../tools/repository.ts";
import { isInstalled } from "../../tools/spawn.ts";

/** In milliseconds: on a machine that is busy, a browser takes its time to start. */
const PATIENCE = 120_000;

const executablePath = await firstInstalled([
  Deno.env.get("GIOMMU_CHROMIUM"),
  "chromium",
  "chromium-browser",
  "google-chrome",
]);
if (executablePath === undefined) {
  console.log("The test in a browser is skipped: no chromium can be found, on the PATH or as GIOMMU_CHROMIUM");
}

async function firstInstalled(programs: readonly (string | undefined)[]): Promise<string | undefined> {
  for (const program of programs) {
    if (program !== undefined && program !== "" && await isInstalled(program)) return absolute(program);
  }
  return undefined;
}

/** Where on the PATH a program is, as Playwright takes no bare name. */
function absolute(program: string): string {
  if (program.includes("/")) return program;
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  return folders.map((folder) => `${folder}/${program}`).find((path) => exists(path)) ?? program;
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** What a page has to allow, beside itself and what stands in it. */
const POLICY = "default-src 'none'; script-src 'self' 'unsafe-inline'";

/** Serves the page, at `/` with leave to make WebAssembly and at `/without` without it, and the packages' JavaScript. */
function serve(packages: readonly Published[]): Deno.HttpServer<Deno.NetAddr> {
  const page = Deno.readTextFileSync(`${ROOT}/tests/registry/hotplug.html`);
  const map = `<script type="importmap">${JSON.stringify({ imports: importMap(packages) })}</script>`;
  const files = new Map(packages.map((published) => [`/${published.name}`, npmForm(published)]));
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, ({ url }) => {
    const { pathname } = new URL(url);
    if (pathname === "/" || pathname === "/without") {
      const policy = pathname === "/" ? `${POLICY} 'wasm-unsafe-eval'` : POLICY;
      const headers = { "content-type": "text/html", "content-security-policy": policy };
      return new Response(page.replace(/<!-- .* -->/, map), { headers });
    }
    const [, name = "", path = ""] = /^(\/@giommu\/[^/]+)(\/.*)$/.exec(pathname) ?? [];
    const bytes = files.get(name)?.get(path);
    return bytes === undefined || !path.endsWith(".js")
      ? new Response("", { status: 404 })
      : new Response(bytes, { headers: { "content-type": "text/javascript" } });
  });
}

/** Both names of a package lead to the same file: packages import each other by npm's, the page by ours. */
function importMap(packages: readonly Published[]): Record<string, string> {
  const entries = packages.flatMap(({ name, exports }) =>
    Object.entries(exports).flatMap(([key, target]) => {
      const address = `/${name}/${javascriptPath(target.slice("./".length))}`;
      return [[name + key.slice(1), address], [npmName(name) + key.slice(1), address]];
    })
  );
  return Object.fromEntries(entries);
}

Deno.test({
  name: "a plain page hotplugs a device, and needs nothing but leave to make WebAssembly",
  ignore: executablePath === undefined,
  // Playwright keeps timers of its own for a while.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using registry = await publishedRegistry();
    await using server = serve(registry.packages.filter(({ name }) => name.startsWith("@giommu/")));
    const browser: Browser = await chromium.launch({
      executablePath: executablePath ?? "",
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
      timeout: PATIENCE,
    });
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(PATIENCE);
      const wrong: string[] = [];
      page.on("pageerror", (error) => wrong.push(String(error)));
      page.on("response", (response) => {
        if (!response.ok() && !response.url().endsWith("/favicon.ico")) {
          wrong.push(`${response.status()} ${response.url()}`);
        }
      });
      await page.goto(`http://127.0.0.1:${server.addr.port}/`);
      assertEquals(wrong, []);
      assertEquals(await page.textContent("#pages"), "4");
      const mappings = "0x5000 -> 0x200000, 0x6000 -> 0x100000, 0x7000 -> 0x100000, 0x8000 -> 0x100000";
      assertEquals(await page.textContent("#mappings"), mappings);
      assertEquals(await page.textContent("#agrees"), "true");
      // Module scripts run before the document is loaded, unless one of them waits for something.
      const [shown, loaded] = await page.evaluate<[number, number]>(
        "[performance.getEntriesByName('shown')[0].startTime, performance.getEntriesByType('navigation')[0].domContentLoadedEventStart]",
      );
      assert(shown < loaded, `shown after ${shown} ms, the document was loaded after ${loaded} ms`);

      await page.goto(`http://127.0.0.1:${server.addr.port}/without`);
      assertEquals(wrong.length, 1);
      assertStringIncludes(wrong[0] ?? "", "Content Security Policy");
    } finally {
      await browser.close();
    }
  },
});
