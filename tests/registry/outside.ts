/** An empty folder outside the checkout, as a user's project is one. */

import { ROOT } from "../../tools/repository.ts";

/** Is removed when it is disposed of. */
export class Outside implements Disposable {
  /** Where it is. */
  readonly folder: string = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "giommu-outside-" }));

  /** Writes a file at a path below it. */
  write(path: string, content: string | Uint8Array): void {
    const to = `${this.folder}/${path}`;
    Deno.mkdirSync(to.replace(/\/[^/]*$/, ""), { recursive: true });
    if (typeof content === "string") Deno.writeTextFileSync(to, content);
    else Deno.writeFileSync(to, content);
  }

  /** Copies a file of the checkout, or all below a folder of it, to the same path here. */
  copy(path: string): void {
    if (Deno.statSync(`${ROOT}/${path}`).isFile) return this.write(path, Deno.readFileSync(`${ROOT}/${path}`));
    for (const { name } of Deno.readDirSync(`${ROOT}/${path}`)) this.copy(`${path}/${name}`);
  }

  /** Removes it. */
  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}
