/**
 * A registry on this machine that answers as JSR does: `deno publish` publishes to it, Deno imports `jsr:` from it, and npm
 * installs the same packages from it as from npm.jsr.io.
 */

import { pack, unpack } from "./archive.ts";
import { npmForm } from "./npm_form.ts";
import { npmName } from "./specifiers.ts";
import { type Published, publishedOf } from "./published.ts";

/** Lives until it is disposed of, which frees its port. */
export class LocalRegistry implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #packages = new Map<string, Published[]>();
  readonly #tarballs = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  readonly #damaged = new Map<string, Uint8Array<ArrayBuffer> | undefined>();
  readonly #asked = new Set<string>();
  readonly #settings = new Map<string, Record<string, unknown>>();

  /** Listens on 127.0.0.1, on any port that is free unless one is named. */
  constructor(port = 0) {
    const options = { hostname: "127.0.0.1", port, onListen: () => {} };
    this.#server = Deno.serve(options, (request) => this.#answer(request));
  }

  /** What `JSR_URL` has to be. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  /** What the registry of the scope `@jsr` has to be in an `.npmrc`. */
  get npmUrl(): string {
    return `${this.url}npm/`;
  }

  /** The newest version of every package. */
  get packages(): Published[] {
    return Array.from(this.#packages.values(), (versions) => versions.at(-1)).filter((newest) => newest !== undefined);
  }

  /** The files that were asked for, as in `@giommu/core/mod.ts`. */
  get asked(): ReadonlySet<string> {
    return this.#asked;
  }

  /** Takes a version. Throws if it has that version already: what is published stays as it is. */
  add(published: Published): void {
    const { name, version } = published;
    const versions = this.#packages.get(name) ?? [];
    if (versions.some((other) => other.version === version)) {
      throw new Error(`Cannot publish ${name}@${version}: it is published already`);
    }
    this.#packages.set(name, [...versions, published]);
  }

  /**
   * Serves other bytes for one file from now on, or none at all, although the checksum stays as it was.
   *
   * @returns What puts it back.
   */
  damage(name: string, path: string, bytes?: Uint8Array<ArrayBuffer>): Disposable {
    const key = `${name}${path}`;
    if (this.#file(name, undefined, path) === undefined) throw new Error(`Cannot damage ${key}: there is no such file`);
    this.#damaged.set(key, bytes);
    return { [Symbol.dispose]: () => void this.#damaged.delete(key) };
  }

  /** Stops listening. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const path = decodeURIComponent(pathname);
    const api = /^\/api\/scopes\/([^/]+)\/packages\/([^/]+)(?:\/versions\/([^/]+))?$/.exec(path);
    if (api !== null) {
      const [, scope, name, version] = api;
      if (request.method === "POST") return await this.#publish(request, searchParams.get("config") ?? "/deno.json");
      // A scope exists for whoever asks; a version only once it was published.
      if (version === undefined) return await this.#package(request, `@${scope}/${name}`);
      const found = this.#version(`@${scope}/${name}`, version);
      return found === undefined ? notFound() : Response.json({ scope, package: name, version });
    }
    if (path.startsWith("/npm/")) return await this.#npm(path.slice("/npm/".length));
    const file = /^\/(@[^/]+\/[^/]+)\/(.+)$/.exec(path);
    return file === null ? notFound() : await this.#serve(file[1] ?? "", file[2] ?? "");
  }

  /** Tells of a package, or changes one of its settings. */
  async #package(request: Request, name: string): Promise<Response> {
    const settings = this.#settings.get(name) ?? {};
    if (request.method !== "PATCH") return Response.json({ name, ...settings });
    const change: Record<string, unknown> = await request.json();
    if (Object.keys(change).length !== 1 || !request.headers.get("authorization")?.startsWith("Bearer ")) {
      return Response.json({ code: "malformedRequest", message: "one field, by somebody" }, { status: 400 });
    }
    this.#settings.set(name, { ...settings, ...change });
    return Response.json({ name, ...settings, ...change });
  }

  async #publish(request: Request, config: string): Promise<Response> {
    try {
      this.add(publishedOf(await unpack(new Uint8Array(await request.arrayBuffer())), config));
      return Response.json({ id: crypto.randomUUID(), status: "success", error: null });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return Response.json({ code: "cannotPublish", message }, { status: 400 });
    }
  }

  /** `rest` is `meta.json`, `VERSION_meta.json` or `VERSION/PATH`. */
  async #serve(name: string, rest: string): Promise<Response> {
    const versions = this.#packages.get(name);
    if (versions === undefined) return notFound();
    if (rest === "meta.json") {
      const [scope, short] = name.slice(1).split("/");
      const all = Object.fromEntries(versions.map(({ version }) => [version, {}]));
      return Response.json({ scope, name: short, latest: versions.at(-1)?.version, versions: all });
    }
    const meta = /^([^/]+)_meta\.json$/.exec(rest)?.[1];
    if (meta !== undefined) {
      const found = this.#version(name, meta);
      return found === undefined ? notFound() : Response.json(await versionMeta(found));
    }
    const [version, ...path] = rest.split("/");
    this.#asked.add(`${name}/${path.join("/")}`);
    const bytes = this.#file(name, version, `/${path.join("/")}`);
    return bytes === undefined ? notFound() : new Response(bytes, { headers: { "content-type": mediaType(rest) } });
  }

  /** What npm asks: `@jsr/scope__name`, or a tarball by the address that this said. */
  async #npm(path: string): Promise<Response> {
    const tarball = /^~\/(.+)$/.exec(path)?.[1];
    const wanted = this.packages.find((entry) =>
      tarball === undefined ? npmName(entry.name) === path : tarballName(entry) === tarball
    );
    if (wanted === undefined) return notFound();
    const bytes = await this.#tarball(wanted);
    if (tarball !== undefined) {
      return new Response(bytes, { headers: { "content-type": "application/octet-stream" } });
    }
    const { version } = wanted;
    const manifest: Record<string, unknown> = JSON.parse(
      new TextDecoder().decode(npmForm(wanted).get("/package.json")),
    );
    const dist = {
      tarball: `${this.npmUrl}~/${tarballName(wanted)}`,
      integrity: `sha512-${new Uint8Array(await crypto.subtle.digest("SHA-512", bytes)).toBase64()}`,
    };
    return Response.json({
      name: npmName(wanted.name),
      "dist-tags": { latest: version },
      versions: { [version]: { ...manifest, dist } },
    });
  }

  #tarball(published: Published): Promise<Uint8Array<ArrayBuffer>> {
    const key = tarballName(published);
    const made = this.#tarballs.get(key) ?? pack(npmForm(published), "package");
    this.#tarballs.set(key, made);
    return made;
  }

  #version(name: string, version: string | undefined): Published | undefined {
    const versions = this.#packages.get(name);
    return version === undefined ? versions?.at(-1) : versions?.find((entry) => entry.version === version);
  }

  #file(name: string, version: string | undefined, path: string): Uint8Array<ArrayBuffer> | undefined {
    const key = `${name}${path}`;
    return this.#damaged.has(key) ? this.#damaged.get(key) : this.#version(name, version)?.files.get(path);
  }
}

/** What Deno reads before it asks for a file: what importers may name, and every file's checksum. */
async function versionMeta({ exports, files }: Published): Promise<unknown> {
  const entries = Array.from(files, async ([path, bytes]) => {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return [path, { size: bytes.length, checksum: `sha256-${digest.toHex()}` }] as const;
  });
  return { exports, manifest: Object.fromEntries(await Promise.all(entries)) };
}

function tarballName({ name, version }: Published): string {
  return `${npmName(name).replace("/", "__")}-${version}.tgz`;
}

function mediaType(path: string): string {
  const types: Record<string, string> = { ts: "text/typescript", js: "text/javascript", json: "application/json" };
  return types[path.split(".").at(-1) ?? ""] ?? "text/plain";
}

function notFound(): Response {
  return new Response("404 - Not Found", { status: 404 });
}
