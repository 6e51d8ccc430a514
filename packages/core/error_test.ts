import { assertEquals, assertInstanceOf } from "@std/assert";
import { IOMMU_ERROR_CODES, IommuError } from "./error.ts";

Deno.test("IommuError carries its code, ranges, remedy and cause", () => {
  const cause = new Error("ENOSPC");
  const ranges = [{ start: 0n, last: 1n }, { start: 4n, last: 5n }];
  const error = new IommuError("rollback-failed", "Cannot undo", { ranges, remedy: "detach", cause });
  assertInstanceOf(error, Error);
  assertEquals([error.name, error.code, error.range, error.ranges, error.remedy, error.cause], [
    "IommuError",
    "rollback-failed",
    ranges[0],
    ranges,
    "detach",
    cause,
  ]);
  assertEquals(new IommuError("disposed", "x").ranges, []);
});

Deno.test("The first error codes never change their order: programs depend on them", () => {
  assertEquals(IOMMU_ERROR_CODES.slice(0, 13), [
    "disposed",
    "duplicate-liobn",
    "mapping-limit",
    "iova-out-of-range",
    "page-too-fine",
    "overlap",
    "not-ram",
    "mapping-lost",
    "unmap-failed",
    "rollback-failed",
    "backend-unavailable",
    "snapshot-version",
    "core-trapped",
  ]);
  assertEquals(new Set(IOMMU_ERROR_CODES).size, IOMMU_ERROR_CODES.length);
});
