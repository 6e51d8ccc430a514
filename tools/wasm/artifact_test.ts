import { assert, assertEquals, assertNotMatch } from "@std/assert";
import { ROOT } from "../repository.ts";
import { deno, isInstalled, run } from "../spawn.ts";
import { MODULES, OUTPUT } from "./modules.ts";

const PROGRAM = MODULES.map((name) => `
  import * as ${name} from "file://${ROOT}/${OUTPUT}/${name}.js";
  if (!(${name}.memory() instanceof WebAssembly.Memory)) throw new Error("no memory");
`).join("") + `
  const names = [${MODULES.join(", ")}].flatMap((module) => Object.keys(module));
  console.log(names.filter((name) => name.startsWith("__")).length);
`;

async function prints(program: string, text: string, start: typeof run): Promise<void> {
  const file = Deno.makeTempFileSync({ suffix: ".mjs" });
  try {
    Deno.writeTextFileSync(file, text);
    const args = program === "deno" ? ["run", "--no-prompt", "--quiet", file] : [file];
    const ended = await start(program, args);
    assert(ended.ok, ended.text);
    assertEquals(ended.stdout.trim(), "0");
  } finally {
    Deno.removeSync(file);
  }
}

Deno.test("the artifact loads in Deno without a permission, and exports no name that is only the glue's", async () => {
  await prints("deno", PROGRAM, (_, args) => deno(args));
});

Deno.test("the artifact loads where Uint8Array.fromBase64 does not exist", async () => {
  const file = `file://${ROOT}/${OUTPUT}/table_bytes.js`;
  const program = `
    import { bytes } from "${file}";
    const fast = bytes();
    delete Uint8Array.fromBase64;
    console.log(Number(!bytes().every((byte, i) => byte === fast[i]) || bytes().length !== fast.length));
  `;
  await prints("deno", program, (_, args) => deno(args));
});

Deno.test({
  name: "the artifact loads in Node.js",
  ignore: !await isInstalled("node"),
  fn: () => prints("node", PROGRAM, run),
});

for (const name of MODULES) {
  Deno.test(`the module "${name}" names no folder of the machine that built it, and no interface of one runtime`, async () => {
    const module: { bytes(): Uint8Array } = await import(`file://${ROOT}/${OUTPUT}/${name}_bytes.js`);
    const binary = new TextDecoder("latin1").decode(module.bytes());
    assertNotMatch(binary, /\/(?:root|home|Users|usr|tmp|work)\//);
    const glue = Deno.readTextFileSync(`${ROOT}/${OUTPUT}/${name}.js`);
    assertNotMatch(glue, /\bDeno\.|\bnode:|\bprocess\.|\brequire\(|\bfetch\(/);
  });
}
