/** Which module imports which, as Deno itself resolves them. */

import { ROOT } from "../repository.ts";
import { deno } from "../spawn.ts";

/** One import, export-from or type reference. */
export interface Import {
  /** The importing file, relative to the repository. */
  readonly from: string;
  /** As written. */
  readonly specifier: string;
  /** The imported file relative to the repository, or `undefined` if it is elsewhere. */
  readonly to: string | undefined;
}

/** Reads the imports of `files`, paths relative to `root`, and of what they import below it. */
export async function importsOf(files: readonly string[], root: string = ROOT): Promise<Import[]> {
  // One graph for all: a module that imports every file, made where nothing else looks.
  Deno.mkdirSync(`${root}/target`, { recursive: true });
  const entry = Deno.makeTempFileSync({ dir: `${root}/target`, prefix: "imports-", suffix: ".ts" });
  try {
    const base = `file://${root}/`;
    Deno.writeTextFileSync(entry, files.map((file) => `import ${JSON.stringify(base + file)};\n`).join(""));
    const info = await deno(["info", "--json", entry], { cwd: root });
    if (!info.ok) throw new Error(`Cannot read the import graph: deno info failed\n${info.text}`);
    const graph: Graph = JSON.parse(info.stdout);
    return graph.modules.flatMap((module) => {
      const from = inside(module.specifier, base);
      if (from === undefined || module.specifier === `file://${entry}`) return [];
      return (module.dependencies ?? []).map((dependency) => ({
        from,
        specifier: dependency.specifier,
        to: inside((dependency.code ?? dependency.type)?.specifier ?? "", base),
      }));
    });
  } finally {
    Deno.removeSync(entry);
  }
}

interface Graph {
  readonly modules: readonly {
    readonly specifier: string;
    readonly dependencies?: readonly {
      readonly specifier: string;
      readonly code?: { readonly specifier?: string };
      readonly type?: { readonly specifier?: string };
    }[];
  }[];
}

function inside(specifier: string, base: string): string | undefined {
  return specifier.startsWith(base) ? decodeURI(specifier.slice(base.length)) : undefined;
}
