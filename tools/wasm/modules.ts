/** Turns wasm-pack's output into modules that load without a permission, synchronously, in any JavaScript runtime. */

import type { Packed } from "./pack.ts";
import { withoutCustomSections } from "./sections.ts";

/** Where the modules go that packages use, relative to the repository. */
export const OUTPUT = "packages/core/_wasm";

/** Where the module goes that benchmarks use: the tables, and the loops that are measured. */
export const BENCH_OUTPUT = "bench/_wasm";

/** The features of giommu-wasm: each is a module of its own, so that a program loads what its packages use. */
export const MODULES = ["walker", "container", "table", "spapr", "log", "hostlog", "doctor"] as const;

/** One of {@linkcode MODULES}. */
export type ModuleName = typeof MODULES[number];

/** Every folder that the build writes, and the features whose modules go there. */
export const OUTPUTS: Readonly<Record<string, readonly string[]>> = { [OUTPUT]: MODULES, [BENCH_OUTPUT]: ["bench"] };

const HEADER = `// @${"generated"} by tools/build_wasm.ts from core-rs: change that, then run the task "build".\n`;

/** Returns the text of each generated file of one module by its name. */
export function moduleFiles(name: string, packed: Packed): Map<string, string> {
  const wasm = withoutCustomSections(packed.wasm);
  return new Map([
    [`${name}.js`, loader(name, packed.glue, wasm)],
    [`${name}.d.ts`, HEADER + documented(packed.types)],
    [`${name}_bytes.js`, bytesModule(wasm)],
  ]);
}

/** wasm-bindgen's glue for bundlers, which wants to be handed an instance, followed by what makes that instance. */
function loader(name: string, glue: string, wasm: Uint8Array<ArrayBuffer>): string {
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(wasm));
  const own = withoutEffects(glue)
    // What only the instance calls is nobody else's to import.
    .replaceAll(/^export (?=function __wb)/gm, "")
    // The instance is made below: no setter is left for others to call.
    .replace(/\n+let wasm;\n(?:export )?function __wbg_set_wasm\(val\) \{\n\s*wasm = val;\n\}\n*$/, "\n");
  if (own.includes("__wbg_set_wasm")) {
    throw new Error("Cannot adapt the glue: wasm-bindgen writes it in another way now");
  }
  const told = trapsTold(own);
  const byModule = Map.groupBy(imports, (entry) => entry.module);
  const objects = Array.from(byModule, ([module, entries]) => {
    const names = entries.map((entry) => `      ${entry.name},\n`).sort().join("");
    return `    ${JSON.stringify(module)}: {\n${names}    },\n`;
  });
  return `${HEADER}/* @ts-self-types="./${name}.d.ts" */
import { bytes } from "./${name}_bytes.js";

/** Makes the instance when a name of it is first asked for: a program that imports this and never uses it pays nothing. */
let wasm = /* @__PURE__ */ new Proxy({}, { get: (_, name) => start()[name] });

function start() {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes()), {
${objects.join("")}  });
  wasm = instance.exports;
  wasm.__wbindgen_start();
  return wasm;
}

/** This module's memory. Its \`buffer\` is another one after every growth: views must be made anew. */
export function memory() {
  return wasm.memory;
}

/** What is thrown for a trap. */
let tell = (error) => error;

/** Decides what is thrown for a trap, the first time and ever after. */
export function onTrap(told) {
  tell = told;
}

/** After a trap nothing here can be trusted: what is called says so again, and what is freed is gone anyway. */
function told(error) {
  if (!(error instanceof WebAssembly.RuntimeError)) return error;
  const { memory } = wasm;
  const again = () => {
    throw tell(error);
  };
  wasm = new Proxy({}, {
    get: (_, name) => name === "memory" ? memory : name.endsWith("_free") ? () => {} : again,
  });
  return tell(error);
}

${told}`;
}

/** What runs when the glue is loaded is what bundlers must keep: with nothing, a class that a program does not use is gone, and the bytes with the last one. */
function withoutEffects(glue: string): string {
  const pure = glue
    .replaceAll(/ new FinalizationRegistry\(/g, " /* @__PURE__ */ new FinalizationRegistry(")
    .replaceAll(
      /^\}\nif \(Symbol\.dispose\) (\w+)\.prototype\[Symbol\.dispose\] = \1\.prototype\.free;$/gm,
      "    [Symbol.dispose]() {\n        this.free();\n    }\n}",
    )
    .replace(
      /^let cachedTextDecoder = new TextDecoder\(.*\);\ncachedTextDecoder\.decode\(\);$/m,
      "let cachedTextDecoder;",
    )
    .replace(/^( *)if \((?=numBytesDecoded >= )/m, "$1if (!cachedTextDecoder || ");
  const statement = /^(?!(?:export )?(?:class|function|let|const) |[ })]|\/?\*|$).*/m.exec(pure);
  if (statement !== null || /^(?:let|const) .*(?<!@__PURE__ \*\/ )\bnew\b/m.test(pure)) {
    throw new Error(`Cannot adapt the glue: loading it does something: ${statement?.[0] ?? "it makes an object"}`);
  }
  return pure;
}

/** Has every method of the glue say what ended it. A `try` costs nothing where nothing is thrown, a wrapped function would. */
function trapsTold(glue: string): string {
  const method = /^ {4}((?:static |get |set )?(?!__|free\()\w+\([\w, $]*\)) \{\n([^]*?)\n {4}\}$/gm;
  return glue.replaceAll(method, (_, head: string, body: string) => {
    const inner = body.replaceAll(/^/gm, "    ");
    return `    ${head} {\n        try {\n${inner}\n        } catch (error) {\n            throw told(error);\n        }\n    }`;
  });
}

/** wasm-bindgen leaves two methods of every class, and the memory, without a word. */
function documented(types: string): string {
  return types
    .replace(/^(?:\/\* (?:ts|es)lint.*\*\/\n)+/, "")
    .replaceAll(
      /^( *)free\(\): void;/gm,
      "$1/** Frees what this owns in the core; using it afterwards is an error. */\n$&",
    )
    .replaceAll(/^( *)\[Symbol\.dispose\]\(\): void;/gm, "$1/** The same as `free`. */\n$&")
    .replaceAll(/^( *)private constructor\(\);/gm, "$1/** Made by the core only. */\n$&") +
    `
/** This module's memory. Its \`buffer\` is another one after every growth: views must be made anew. */
export function memory(): WebAssembly.Memory;

/** Decides what is thrown for a trap, the first time and ever after: nothing of the module can be used from then on. */
export function onTrap(told: (error: WebAssembly.RuntimeError) => Error): void;
`;
}

/**
 * Text that every runtime can turn back into bytes without a permission; the fast way where there is one. It is not inside
 * the function: V8 would read it twice, and Deno keeps what it makes of the text of a file, not of what a function holds.
 */
function bytesModule(wasm: Uint8Array): string {
  return `${HEADER}const text = "${wasm.toBase64()}";

/** Returns the WebAssembly module. */
export function bytes() {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
`;
}
