import { ArrayGuestMemory } from "@giommu/memory-api";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { SparseGuestMemory } from "./sparse_guest_memory.ts";

Deno.test("SparseGuestMemory reads and writes what plain memory does, across its chunks too", () => {
  const size = 0x3_0123;
  const access = fc.record({
    at: fc.oneof(fc.integer({ min: -3, max: size + 3 }), fc.integer({ min: 0xfff0, max: 0x1_0010 })),
    bytes: fc.uint8Array({ maxLength: 0x40 }),
    writes: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 40 }), (accesses) => {
      const [sparse, plain] = [new SparseGuestMemory(BigInt(size)), new ArrayGuestMemory(size)];
      for (const { at, bytes, writes } of accesses) {
        if (writes) assertEquals(sparse.write(BigInt(at), bytes), plain.write(BigInt(at), bytes));
        const [a, b] = [bytes.slice(), bytes.slice()];
        assertEquals(sparse.read(BigInt(at), a), plain.read(BigInt(at), b));
        assertEquals(a, b);
      }
    }),
  );
});

Deno.test("SparseGuestMemory goes up to the top of the 64-bit space, and is refused beyond", () => {
  const memory = new SparseGuestMemory(1n << 64n);
  assertEquals(memory.write((1n << 64n) - 2n, new Uint8Array([1, 2])), true);
  assertEquals(memory.write((1n << 64n) - 1n, new Uint8Array([3, 4])), false);
  const bytes = new Uint8Array(3);
  assertEquals(memory.read((1n << 64n) - 3n, bytes), true);
  assertEquals([...bytes], [0, 1, 2]);
  for (const size of [-1n, (1n << 64n) + 1n]) assertThrows(() => new SparseGuestMemory(size), RangeError, "2^64");
  assertThrows(() => new SparseGuestMemory(5 as unknown as bigint), TypeError);
});
