import { ADDRESS_MAX } from "@giommu/core";
import { AddressSpace, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { log2 } from "./_arithmetic.ts";
import { targetPieces } from "./_targets.ts";

const PAGE = 0x1000n;
const KIB = 0x400n;

/** RAM at 0x0..0x7fff, ROM at 0x8000..0x9bff, a hole, RAM with an odd end at the top of the space. */
function newMemory(): AddressSpace {
  const root = new MemoryRegion({ name: "root", size: 2n ** 64n });
  root.addSubregion(0n, new RamRegion({ name: "low", size: 0x8000n }));
  root.addSubregion(0x8000n, new RamRegion({ name: "rom", size: 0x1c00n, readonly: true }));
  root.addSubregion(2n ** 64n - 0x4000n, new RamRegion({ name: "top", size: 0x4000n }));
  return new AddressSpace({ name: "memory", root });
}

const target = fc.oneof(fc.bigInt(0n, 0x30n), fc.bigInt(-0x18n, -1n)).map((at) => BigInt.asUintN(64, at * KIB));

Deno.test("property: pieces of a run are all of it, in order, and RAM exactly where whole pages are", () => {
  using memory = newMemory();
  fc.assert(
    fc.property(target, fc.bigInt(1n, 0x30n), fc.constantFrom(1n, PAGE), (target, length, page) => {
      const bytes = length * KIB;
      const pieces = targetPieces(memory, target, bytes - 1n, IommuPerm.READ_WRITE, page, false);
      let offset = 0n;
      for (const piece of pieces) {
        assertEquals([piece.offset, piece.gpa], [offset, BigInt.asUintN(64, target + offset)]);
        const { gpa, length1, ram, delta } = piece;
        for (let at = gpa; at <= gpa + length1; at += KIB) {
          const { start, last } = page === 1n
            ? { start: at, last: at + KIB - 1n }
            : { start: at & -PAGE, last: at | (PAGE - 1n) };
          const section = memory.flatView().find(at);
          const whole = section?.region.kind === "ram" && section.range.start <= start && last <= section.range.last;
          assertEquals(ram, whole ? section.region : undefined);
          if (whole) assertEquals(at - delta, section.offsetWithinRegion + (at - section.range.start));
          const perm = ram === undefined ? IommuPerm.NONE : ram.readonly ? IommuPerm.READ : IommuPerm.READ_WRITE;
          assertEquals(piece.perm, perm);
        }
        offset += length1 + 1n;
      }
      assertEquals(offset, bytes);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("without a memory map all is RAM", () => {
  assertEquals(targetPieces(undefined, ADDRESS_MAX, 9n, IommuPerm.READ, PAGE, false), [
    { offset: 0n, length1: 9n, gpa: ADDRESS_MAX, perm: IommuPerm.READ, delta: 0n },
  ]);
});

Deno.test("log2() is exact for every page size that there is", () => {
  for (let shift = 0; shift <= 64; shift++) assertEquals(log2(1n << BigInt(shift)), shift);
});
