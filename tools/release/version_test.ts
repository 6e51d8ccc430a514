import { assert, assertEquals } from "@std/assert";
import { compareVersions, isVersion } from "./version.ts";

Deno.test("isVersion() takes three numbers, and what a version is on its way to", () => {
  for (const good of ["0.1.0", "1.0.0-rc.1", "10.20.30-alpha"]) assert(isVersion(good), good);
  for (const bad of ["", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-rc.01", "1.0.0+build", "1.0.0 "]) {
    assert(!isVersion(bad), bad);
  }
});

Deno.test("compareVersions() orders as semantic versioning does", () => {
  // The order that semver.org's eleventh item gives as its example, with releases around it.
  const order = ["0.9.10", "0.10.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2"];
  order.push("1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0");
  for (const [i, a] of order.entries()) {
    for (const [j, b] of order.entries()) assertEquals(Math.sign(compareVersions(a, b)), Math.sign(i - j), `${a} ${b}`);
  }
});
