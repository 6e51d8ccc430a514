/** How modules name each other, in JSR's form and in npm's. */

import ts from "typescript";

/** A module's specifier, where it stands in the text. */
interface Place {
  /** Where the specifier begins, after its quotation mark. */
  readonly start: number;
  readonly specifier: string;
}

/** The package that holds a package of JSR in npm's form: `@jsr/giommu__core` for `@giommu/core`. */
export function npmName(name: string): string {
  return `@jsr/${name.replace(/^@/, "").replace("/", "__")}`;
}

/** A package that a `jsr:` or `npm:` specifier names; `undefined` for any other specifier. */
export interface Dependency {
  /** What npm calls it. */
  readonly name: string;
  readonly range: string;
  /** With a slash in front, or empty. */
  readonly subpath: string;
}

/** Reads a specifier as `deno publish` writes it. Throws if it does not say which versions will do. */
export function dependencyOf(specifier: string): Dependency | undefined {
  const parts = /^(jsr|npm):\/?((?:@[^/]+\/)?[^@/]+)(?:@([^/]+))?(\/.*)?$/.exec(specifier);
  if (parts === null) return undefined;
  const [, kind, name = "", range, subpath = ""] = parts;
  if (range === undefined) throw new Error(`Cannot use ${specifier}: it does not say which versions will do`);
  return { name: kind === "jsr" ? npmName(name) : name, range, subpath };
}

/** Every specifier in a module: of imports and exports, of types and at run time. */
export function specifiersOf(text: string): string[] {
  return placesOf(text).map(({ specifier }) => specifier);
}

/** Gives every specifier in a module another name; `undefined` leaves it. */
export function withSpecifiers(text: string, rename: (specifier: string) => string | undefined): string {
  let result = text;
  for (const { start, specifier } of placesOf(text).reverse()) {
    const name = rename(specifier);
    if (name !== undefined) result = result.slice(0, start) + name + result.slice(start + specifier.length);
  }
  return result;
}

/** In the order of the text. */
function placesOf(text: string): Place[] {
  const source = ts.createSourceFile("module.ts", text, ts.ScriptTarget.Latest);
  const places: Place[] = [];
  const take = (node: ts.Node | undefined): void => {
    if (node !== undefined && ts.isStringLiteral(node)) {
      places.push({ start: node.getStart(source) + 1, specifier: node.text });
    }
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) take(node.moduleSpecifier);
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) take(node.argument.literal);
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) take(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return places;
}
