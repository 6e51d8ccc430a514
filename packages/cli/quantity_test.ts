import { assertEquals, assertThrows } from "@std/assert";
import { parsePage, parseRange, parseSize, parseWhole, parseWindow } from "./quantity.ts";
import { UsageError } from "./usage_error.ts";

Deno.test("parseSize() reads bytes, hexadecimal and K, M, G, T", () => {
  assertEquals(
    ["0", "4096", "0x1000", "4K", "1m", "1G", "2T", "16MiB"].map((text) => parseSize("--ram", text)),
    [0n, 4096n, 4096n, 4096n, 1n << 20n, 1n << 30n, 2n << 40n, 16n << 20n],
  );
  assertEquals(parseSize("--ram", "0x10000000000000000"), 1n << 64n);
});

Deno.test("parseSize() refuses what is not a size and says what would be one", () => {
  for (const text of ["", "-1", "1.5G", "4Q", "0x", "0x1FFFFFFFFFFFFFFFF", "99999999999T"]) {
    assertThrows(() => parseSize("--ram", text), UsageError, "--ram");
  }
});

Deno.test("parseWindow() reads all of LIOBN=SIZE/PAGE@BUS and defaults the rest", () => {
  assertEquals(parseWindow("0x80000001=256M/64K@0x1000000000"), {
    liobn: 0x8000_0001,
    size: 256n << 20n,
    pageShift: 16,
    busOffset: 0x10_0000_0000n,
  });
  assertEquals(parseWindow("0x80000000=1G"), { liobn: 0x8000_0000, size: 1n << 30n, pageShift: 12, busOffset: 0n });
});

Deno.test("parseWindow() refuses windows that no table can be", () => {
  for (const text of ["1", "x=1G", "1=2K", "1=16T", "1=1G/3K", "1=1G@0xffffffffffffffff", "0x1ffffffff=1G"]) {
    assertThrows(() => parseWindow(text), UsageError, "--window");
  }
});

Deno.test("parseRange() takes both ends and refuses the reverse", () => {
  assertEquals(parseRange("--iova-range", "0x0-0xffffffffffffffff"), { start: 0n, last: (1n << 64n) - 1n });
  for (const text of ["", "5", "9-5", "1-2-3", "a-b"]) {
    assertThrows(() => parseRange("--iova-range", text), UsageError, "--iova-range");
  }
});

Deno.test("parsePage() and parseWhole() refuse what is not one", () => {
  assertEquals(parsePage("--host-page", "64K"), 16);
  assertThrows(() => parsePage("--host-page", "3K"), UsageError);
  assertThrows(() => parsePage("--host-page", "0"), UsageError);
  assertThrows(() => parseWhole("--phb", "1e3"), UsageError);
  assertThrows(() => parseWhole("--phb", "256", 0, 255), UsageError);
});
