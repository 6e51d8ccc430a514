import { assertEquals } from "@std/assert";
import { publishedCrates } from "./check_crates.ts";

Deno.test("publishedCrates() takes the crates whose manifests say so themselves", () => {
  const manifests = {
    "a/Cargo.toml": '[package]\nname = "a"\npublish = true\n',
    "b/Cargo.toml": '[package]\nname = "b"\npublish.workspace = true\n',
    "c/Cargo.toml": '[package]\nname = "c"\npublish = false\n',
  };
  assertEquals(publishedCrates(manifests), ["a"]);
});
