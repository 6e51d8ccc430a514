/** The declarations of a package's sources. */

import { fileURLToPath } from "node:url";
import { dirname, resolve } from "node:path/posix";
import ts from "typescript";
import type { Files } from "./archive.ts";

/** A declaration has to follow from its own file alone: what JSR calls slow types is an error. */
const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ESNext,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  lib: ["lib.esnext.d.ts"],
  types: [],
  allowImportingTsExtensions: true,
  emitDeclarationOnly: true,
  declaration: true,
  isolatedDeclarations: true,
  verbatimModuleSyntax: true,
  strict: true,
  exactOptionalPropertyTypes: true,
};

/** Where the compiler is installed, with the declarations of JavaScript itself. */
const LIB = dirname(fileURLToPath(import.meta.resolve("typescript")));

/** Those of JavaScript itself, which are the same for every package. */
const libraries = new Map<string, ts.SourceFile>();

/**
 * Compiles a package's sources as they are asked for.
 *
 * @returns What gives the declarations of a source by its path. It throws if they do not follow from that file alone.
 */
export function declarationsOf(files: Files): (path: string) => string {
  const sources = [...files.keys()].filter((path) => path.endsWith(".ts"));
  const host: ts.CompilerHost = {
    fileExists: (path) => files.has(path),
    readFile: (path) => read(files, path),
    getSourceFile: (path, options) => path.startsWith(LIB) ? library(path, options) : parsed(files, path, options),
    getDefaultLibFileName: () => `${LIB}/lib.esnext.d.ts`,
    getDefaultLibLocation: () => LIB,
    getCurrentDirectory: () => "/",
    getCanonicalFileName: (path) => path,
    useCaseSensitiveFileNames: () => true,
    getNewLine: () => "\n",
    writeFile: () => {},
    // Other packages are not read: nothing that is declared may depend on them but by name.
    resolveModuleNameLiterals: (literals, from) =>
      literals.map(({ text }) => {
        const resolvedFileName = resolve(dirname(from), text.replace(/\.js$/, ".d.ts"));
        if (!text.startsWith(".") || !files.has(resolvedFileName)) return { resolvedModule: undefined };
        return { resolvedModule: { resolvedFileName, extension: ts.Extension.Ts } };
      }),
  };
  const program = ts.createProgram(sources, OPTIONS, host);
  return (path) => {
    const source = program.getSourceFile(path);
    const [first] = program.getDeclarationDiagnostics(source);
    if (first !== undefined) {
      const line = (source?.getLineAndCharacterOfPosition(first.start ?? 0).line ?? 0) + 1;
      const message = ts.flattenDiagnosticMessageText(first.messageText, "\n");
      throw new Error(`Cannot write the declarations of ${path}:${line}: ${message}`);
    }
    let text = "";
    program.emit(source, (_, written) => text += written, undefined, true);
    return text;
  };
}

function read(files: Files, path: string): string | undefined {
  const bytes = files.get(path);
  return bytes && new TextDecoder().decode(bytes);
}

function parsed(
  files: Files,
  path: string,
  options: ts.ScriptTarget | ts.CreateSourceFileOptions,
): ts.SourceFile | undefined {
  const text = read(files, path);
  return text === undefined ? undefined : ts.createSourceFile(path, text, options, true);
}

function library(path: string, options: ts.ScriptTarget | ts.CreateSourceFileOptions): ts.SourceFile | undefined {
  const known = libraries.get(path);
  if (known !== undefined) return known;
  const text = ts.sys.readFile(path);
  if (text === undefined) return undefined;
  const source = ts.createSourceFile(path, text, options, true);
  libraries.set(path, source);
  return source;
}
