import { assertEquals } from "@std/assert";
import { breaches } from "./breaches.ts";

function verdict(from: string, specifier: string, to?: string): string {
  return breaches([{ from, specifier, to }]).length === 0 ? "allowed" : "breach";
}

Deno.test("breaches() lets a package import what is below it, by name", () => {
  assertEquals(verdict("packages/memory-api/mod.ts", "@giommu/notifiers", "packages/notifiers/mod.ts"), "allowed");
  assertEquals(verdict("packages/spapr-tce/table.ts", "@giommu/core/wasm", "packages/core/wasm.ts"), "allowed");
  assertEquals(verdict("packages/cli/main.ts", "@giommu/qemu-trace", "packages/qemu-trace/mod.ts"), "allowed");
});

Deno.test("breaches() names an import upwards, and one between neighbours", () => {
  assertEquals(verdict("packages/core/mod.ts", "@giommu/notifiers", "packages/notifiers/mod.ts"), "breach");
  assertEquals(verdict("packages/spapr-tce/mod.ts", "@giommu/vfio-sync", "packages/vfio-sync/mod.ts"), "breach");
  assertEquals(verdict("packages/vfio-sync/mod.ts", "@giommu/spapr-tce", "packages/spapr-tce/mod.ts"), "breach");
  assertEquals(verdict("packages/spapr-tce/a_test.ts", "@giommu/vfio-sync", "packages/vfio-sync/mod.ts"), "breach");
});

Deno.test("breaches() keeps relative imports inside their package, and names out of it", () => {
  assertEquals(verdict("packages/core/mod.ts", "./error.ts", "packages/core/error.ts"), "allowed");
  assertEquals(verdict("packages/cli/main.ts", "../core/mod.ts", "packages/core/mod.ts"), "breach");
  assertEquals(verdict("packages/core/mod.ts", "@giommu/core", "packages/core/mod.ts"), "breach");
  assertEquals(verdict("tests/whole_test.ts", "../packages/core/mod.ts", "packages/core/mod.ts"), "breach");
});

Deno.test("breaches() lets nobody import an example, a test or a tool", () => {
  assertEquals(verdict("packages/cli/main.ts", "../../examples/a.ts", "examples/a.ts"), "breach");
  assertEquals(verdict("bench/a_bench.ts", "../tests/a.ts", "tests/a.ts"), "breach");
  assertEquals(verdict("examples/a.ts", "../tools/spawn.ts", "tools/spawn.ts"), "breach");
  assertEquals(verdict("packages/core/error_test.ts", "../../tools/spawn.ts", "tools/spawn.ts"), "breach");
  assertEquals(verdict("packages/core/mod.ts", "./error_test.ts", "packages/core/error_test.ts"), "breach");
});

Deno.test("breaches() lets tests of what a tool makes import the tool", () => {
  assertEquals(verdict("tests/registry/a_test.ts", "../../tools/spawn.ts", "tools/spawn.ts"), "allowed");
  assertEquals(verdict("tools/a.ts", "../tests/registry/outside.ts", "tests/registry/outside.ts"), "breach");
});

Deno.test("breaches() takes third-party modules from the import map alone, and publishes only what is listed", () => {
  assertEquals(verdict("tests/whole_test.ts", "npm:fast-check@4"), "breach");
  assertEquals(verdict("packages/core/error_test.ts", "@std/assert"), "allowed");
  assertEquals(verdict("packages/core/error.ts", "@std/assert"), "breach");
  assertEquals(verdict("packages/cli/main.ts", "@std/cli/parse-args"), "allowed");
  assertEquals(verdict("packages/core/error.ts", "node:fs"), "breach");
});

Deno.test("breaches() keeps the raw core out of examples and new packages out until they are drawn", () => {
  assertEquals(verdict("examples/a.ts", "@giommu/core/wasm", "packages/core/wasm.ts"), "breach");
  assertEquals(verdict("packages/brand-new/mod.ts", "@giommu/core", "packages/core/mod.ts"), "breach");
});
