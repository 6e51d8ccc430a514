/**
 * A package in npm's form, as JSR makes it for Node.js and bundlers: the sources, compiled JavaScript beside them, declarations
 * in `_dist`, and a `package.json`.
 */

import { dirname, relative, resolve } from "node:path/posix";
import ts from "typescript";
import type { Files } from "./archive.ts";
import { declarationsOf } from "./declarations.ts";
import type { Published } from "./published.ts";
import { dependencyOf, npmName, specifiersOf, withSpecifiers } from "./specifiers.ts";

/** Types are left out and nothing else is changed: what runtimes lack stays as it was written, as JSR's compiler does it. */
const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ESNext,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
};

type Output = Map<string, Uint8Array<ArrayBuffer>>;

const made = new WeakMap<Published, Files>();

/** Compiles a package. Throws if a declaration cannot be written from one file alone, which JSR calls slow types. */
export function npmForm(published: Published): Files {
  const files = made.get(published) ?? compiled(published);
  made.set(published, files);
  return files;
}

/** Where the JavaScript of a source is. */
export function javascriptPath(path: string): string {
  return isSource(path) ? path.replace(/\.ts$/, ".js") : path;
}

function compiled(published: Published): Files {
  const files = new Map(published.files);
  const dependencies: Record<string, string> = {};
  for (const [path, bytes] of published.files) {
    if (!/\.[jt]s$/.test(path)) continue;
    const text = new TextDecoder().decode(bytes);
    for (const specifier of specifiersOf(text)) {
      const dependency = dependencyOf(specifier);
      if (dependency !== undefined) dependencies[dependency.name] = dependency.range;
    }
    files.set(javascriptPath(path), encode(isSource(path) ? javascript(path, text) : withSpecifiers(text, bare)));
  }
  const declarations = declarationsOf(published.files);
  for (const target of Object.values(published.exports)) {
    declare(resolve("/", target), published.files, declarations, files);
  }
  files.set("/package.json", encode(JSON.stringify(manifest(published, dependencies), null, 2) + "\n"));
  return files;
}

function manifest({ name, version, exports, files }: Published, dependencies: Record<string, string>): unknown {
  const entries = Object.entries(exports).map(([key, target]) => {
    const path = resolve("/", target);
    return [key, { types: `.${declarationsPath(path, files)}`, default: `.${javascriptPath(path)}` }];
  });
  return {
    name: npmName(name),
    version,
    homepage: `https://jsr.io/${name}`,
    type: "module",
    dependencies,
    exports: Object.fromEntries(entries),
  };
}

/** The JavaScript of one source: its specifiers are those of what is beside it. */
function javascript(path: string, text: string): string {
  const { outputText } = ts.transpileModule(text, { fileName: path, compilerOptions: OPTIONS });
  return withSpecifiers(
    outputText,
    (specifier) => specifier.startsWith(".") ? javascriptPath(specifier) : bare(specifier),
  );
}

/** Writes the declarations of a source, and of all that they name: nobody can name the types of other modules. */
function declare(path: string, sources: Files, declarations: (path: string) => string, output: Output): void {
  const own = declarationsPath(path, sources);
  if (!isSource(path) || output.has(own)) return;
  const named: string[] = [];
  const text = withSpecifiers(declarations(path), (specifier) => {
    if (!specifier.startsWith(".")) return bare(specifier);
    const other = resolve(dirname(path), specifier);
    named.push(other);
    // By the name of the JavaScript, as compilers look for the declarations of that.
    const target = relative(dirname(own), declarationsPath(other, sources)).replace(/\.d\.ts$/, ".js");
    return target.startsWith(".") ? target : `./${target}`;
  });
  output.set(own, encode(text));
  for (const other of named) declare(other, sources, declarations, output);
}

/** Where the declarations of a module are: of a source in a folder of their own, lest compilers take the source instead. */
function declarationsPath(path: string, files: Files): string {
  if (isSource(path)) return `/_dist${path.replace(/\.ts$/, ".d.ts")}`;
  const bytes = files.get(path);
  const own = /@ts-self-types="([^"]+)"/.exec(new TextDecoder().decode(bytes?.subarray(0, 1000)))?.[1];
  return own === undefined ? path : resolve(dirname(path), own);
}

function bare(specifier: string): string | undefined {
  const dependency = dependencyOf(specifier);
  return dependency && dependency.name + dependency.subpath;
}

function isSource(path: string): boolean {
  return path.endsWith(".ts") && !path.endsWith(".d.ts");
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
