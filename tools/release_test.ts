import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { filesBelow, ROOT } from "./repository.ts";
import { deno, type Ended, isInstalled, run } from "./spawn.ts";

const hasGit = await isInstalled("git");
if (!hasGit) console.log("Tests of the release tool are skipped: git cannot be found");

/** A copy of this repository with all of it committed. */
class Copy implements Disposable {
  readonly root: string = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "giommu-release-" }));

  static async make(): Promise<Copy> {
    const copy = new Copy();
    for (const path of filesBelow(".")) copy.write(path, Deno.readFileSync(`${ROOT}/${path}`));
    await copy.git("init", "--quiet");
    await copy.commit();
    return copy;
  }

  async git(...args: string[]): Promise<string> {
    const who = ["-c", "user.name=A Tester", "-c", "user.email=tester@localhost", "-c", "commit.gpgsign=false"];
    const ended = await run("git", [...who, ...args], { cwd: this.root });
    assert(ended.ok, ended.text);
    return ended.stdout;
  }

  async commit(): Promise<void> {
    await this.git("add", "--all");
    await this.git("commit", "--quiet", "--message", "A state to release from");
  }

  release(...args: string[]): Promise<Ended> {
    return deno(["run", "-A", "--quiet", "tools/release.ts", ...args], { cwd: this.root });
  }

  read(path: string): string {
    return Deno.readTextFileSync(`${this.root}/${path}`);
  }

  write(path: string, content: string | Uint8Array): void {
    const to = `${this.root}/${path}`;
    Deno.mkdirSync(to.replace(/\/[^/]*$/, ""), { recursive: true });
    Deno.writeFileSync(to, typeof content === "string" ? new TextEncoder().encode(content) : content);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.root, { recursive: true });
  }
}

/** A version that may follow the one that packages have, whichever that is. */
function next(current: string): string {
  return `${Number(current.split(".")[0]) + 1}.0.0`;
}

function versionOf(copy: Copy, name = "core"): string {
  return JSON.parse(copy.read(`packages/${name}/deno.json`)).version;
}

Deno.test(
  { name: "release refuses what is no version, goes backwards or stays, and touches nothing", ignore: !hasGit },
  async () => {
    using copy = await Copy.make();
    const current = versionOf(copy);
    const cases = [
      [[], "it is no version"],
      [["1.0"], "it is no version"],
      [["v9.0.0"], "it is no version"],
      [["0.0.1"], `the packages are at ${current} already`],
      [[current], `the packages are at ${current} already`],
      [[`${current}-rc.1`], `the packages are at ${current} already`],
      [["99.0.0", "now"], "one argument too many"],
    ] as const;
    for (const [args, reason] of cases) {
      const ended = await copy.release(...args);
      assert(!ended.ok, args.join(" "));
      assertStringIncludes(ended.text, reason);
    }
    assertEquals(await copy.git("status", "--porcelain"), "");
  },
);

Deno.test(
  { name: "release refuses changes that are not committed, and an empty changelog", ignore: !hasGit },
  async () => {
    using copy = await Copy.make();
    const version = next(versionOf(copy));
    copy.write("new.txt", "not committed");
    const dirty = await copy.release(version);
    assert(!dirty.ok);
    assertStringIncludes(dirty.text, "new.txt");
    copy.write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## [0.0.1] - 2026-01-01\n\n- Something.\n");
    await copy.commit();
    const empty = await copy.release(version);
    assert(!empty.ok);
    assertStringIncludes(empty.text, "CHANGELOG.md names nothing that is unreleased");
    assertEquals(await copy.git("status", "--porcelain"), "");
  },
);

Deno.test(
  { name: "release changes every version and the changelog, and says what is left", ignore: !hasGit },
  async () => {
    using copy = await Copy.make();
    const [before, lockBefore] = [versionOf(copy), copy.read("Cargo.lock")];
    const version = next(before);
    const ended = await copy.release(version, "--without-build");
    assert(ended.ok, ended.text);

    const changed = (await copy.git("status", "--porcelain")).trim().split("\n").map((line) => line.trim());
    const manifests = Array.from(Deno.readDirSync(`${copy.root}/packages`), ({ name }) => `packages/${name}/deno.json`);
    const expected = ["CHANGELOG.md", "Cargo.lock", "Cargo.toml", ...manifests].map((path) => `M ${path}`);
    assertEquals(changed.toSorted(), expected.toSorted());

    for (const path of manifests) assertEquals(JSON.parse(copy.read(path)).version, version);
    assertMatch(copy.read("Cargo.toml"), new RegExp(`\\[workspace\\.package\\]\nversion = "${version}"`));
    const ours = /^name = "giommu-[^"]*"\nversion = "(.*)"$/gm;
    const versions = Array.from(copy.read("Cargo.lock").matchAll(ours), ([, found]) => found);
    assertEquals([versions.length > 3, new Set(versions)], [true, new Set([version])]);
    assertEquals(copy.read("Cargo.lock").replaceAll(ours, ""), lockBefore.replaceAll(ours, ""));
    const today = new Date().toISOString().slice(0, 10);
    assertMatch(copy.read("CHANGELOG.md"), new RegExp(`## \\[Unreleased\\]\n\n## \\[${version}\\] - ${today}\n\n### `));

    assertMatch(ended.stdout, /^\d+\.\d+\.\d+ is prepared\. What is left to do:\n {2}1\. /);
    for (
      const step of [
        "deno task build",
        "jsr:@std/cli",
        `${version} v${version}`,
        "deno publish",
        "deno task jsr:settings",
      ]
    ) {
      assertStringIncludes(ended.stdout, step);
    }
  },
);

Deno.test(
  { name: "release puts everything back if the packages could not be published", ignore: !hasGit },
  async () => {
    using copy = await Copy.make();
    const before = versionOf(copy);
    const slow = "/** Slow. */\nexport const slow = [1].map((one) => ({ one }));\n";
    copy.write("packages/notifiers/mod.ts", copy.read("packages/notifiers/mod.ts") + slow);
    await copy.commit();
    const ended = await copy.release(next(before), "--without-build");
    assert(!ended.ok);
    assertStringIncludes(ended.text, "missing-explicit-type");
    assertEquals([versionOf(copy), await copy.git("status", "--porcelain")], [before, ""]);
  },
);
