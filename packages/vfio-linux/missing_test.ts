/** What is missing is said, whatever it is, and only when something is used. */

import { assert, assertEquals } from "@std/assert";

const HERE = new URL(".", import.meta.url);
const USES = {
  memory: `new PinnedMemory({ size: 0x1000n })`,
  vfio: `new LinuxVfio({ device: "0000:7f:1f.7" })`,
  iommufd: `new Iommufd({ device: "0000:7f:1f.7" })`,
} as const;

/** Runs a program that uses something; returns the code, the message and the remedy of the error. */
async function used(use: string, permissions: readonly string[], env: Record<string, string> = {}): Promise<string[]> {
  const program = `
    import { Iommufd, LinuxVfio, PinnedMemory } from ${JSON.stringify(new URL("mod.ts", HERE).href)};
    void [Iommufd, LinuxVfio, PinnedMemory];
    try { ${use}; console.log("used"); } catch (error) {
      console.log([error.code, error.message, error.remedy].join("\\n"));
    }`;
  const folder = new URL("../../target", HERE).pathname;
  await Deno.mkdir(folder, { recursive: true });
  const file = await Deno.makeTempFile({ suffix: ".ts", dir: folder });
  try {
    await Deno.writeTextFile(file, program);
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-check", ...permissions, file],
      env,
      stdin: "null",
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout).trim().split("\n");
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("to import it needs no permission", async () => {
  assertEquals(await used("", []), ["used"]);
});

for (const [name, use] of Object.entries(USES)) {
  Deno.test(`${name} without leave to load a library says which permission is missing`, async () => {
    const [code, message, remedy] = await used(use, []);
    assertEquals(code, "backend-unavailable");
    assert(message?.startsWith("Cannot use VFIO: "), message);
    if (Deno.build.os === "linux") assert(remedy?.includes("--allow-ffi"), remedy);
  });

  Deno.test(`${name} without the library says how it is built`, async () => {
    const env = { GIOMMU_HOST_LIBRARY: "/nowhere/libgiommu_host.so" };
    const [code, , remedy] = await used(use, ["--allow-ffi", "--allow-env=GIOMMU_HOST_LIBRARY"], env);
    assertEquals(code, "backend-unavailable");
    if (Deno.build.os === "linux") assert(remedy?.includes("deno task build:host"), remedy);
  });
}
