import { assertEquals } from "@std/assert";
import { ioBreaches, manifestBreaches } from "./crates.ts";

const CORE = '[package]\nname = "giommu-core"\n';

Deno.test("manifestBreaches() names a dependency that the picture does not draw, however it is written", () => {
  assertEquals(manifestBreaches("a", `${CORE}[dependencies]\nthiserror.workspace = true\n`), []);
  assertEquals(manifestBreaches("a", `${CORE}[dependencies]\nwasm-bindgen = "1"\n`).length, 1);
  assertEquals(manifestBreaches("a", `${CORE}[dependencies.tokio]\nversion = "1"\n`).length, 1);
  assertEquals(manifestBreaches("a", `${CORE}[target.'cfg(unix)'.dependencies]\nlibc = "1"\n`).length, 1);
  assertEquals(manifestBreaches("a", '[package]\nname = "unknown"\n').length, 1);
});

Deno.test("manifestBreaches() lets tests depend on anything but a crate above", () => {
  assertEquals(manifestBreaches("a", `${CORE}[dev-dependencies]\nproptest.workspace = true\n`), []);
  assertEquals(manifestBreaches("a", `${CORE}[dev-dependencies]\ngiommu-wasm.workspace = true\n`).length, 1);
});

Deno.test("ioBreaches() finds I/O in what ships, not in comments or tests", () => {
  assertEquals(ioBreaches("core/src/a.rs", "use std::fs;\n").length, 1);
  assertEquals(ioBreaches("core/src/a.rs", "/// Like std::fs, but not.\nfn a() {} // unsafe\n"), []);
  assertEquals(ioBreaches("core/src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), []);
  assertEquals(ioBreaches("core/src/a/tests.rs", "use std::fs;\n"), []);
});
