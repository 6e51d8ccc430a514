import { IommuError } from "@giommu/core";
import { ArrayGuestMemory, type GuestMemory, registerNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { Hcall } from "./hcall.ts";
import { MAX_ENTRY_LIMIT, TceTable } from "./tce_table.ts";

const LIOBN = 0x8000_0000;

/** A guest's memory with a list at `address`. */
function memoryWith(address: number, list: readonly bigint[]): ArrayGuestMemory {
  const memory = new ArrayGuestMemory(0x4000);
  list.forEach((tce, i) => new DataView(memory.bytes.buffer).setBigUint64(address + 8 * i, tce));
  return memory;
}

Deno.test("TceTable keeps all 64 bits that a guest stored", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16 });
  for (const tce of [0xffff_ffff_ffff_fff0n, 0xffff_ffff_ffff_ffffn, 3n]) {
    assertEquals(table.putTce(0x1fffn, tce), { ret: Hcall.SUCCESS });
    assertEquals(table.getTce(0x1000n), { ret: Hcall.SUCCESS, value: tce });
    assertEquals(table.entry(1), tce);
  }
  assertEquals([table.stored, table.mapped, table.extents], [1, 1, 1]);
});

Deno.test("TceTable answers H_PARAMETER outside of the window, also below it", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 4, busOffset: 1n << 59n, pageShift: 16 });
  for (const ioba of [0n, (1n << 59n) - 1n, (1n << 59n) + 0x4_0000n, 2n ** 64n - 1n]) {
    assertEquals(table.putTce(ioba, 3n), { ret: Hcall.PARAMETER });
    assertEquals(table.getTce(ioba), { ret: Hcall.PARAMETER });
    assertEquals(table.stuffTce(ioba, 3n, 1n), { ret: Hcall.PARAMETER, stored: 0 });
  }
  assertEquals(table.putTce((1n << 59n) + 0x3_ffffn, 3n).ret, Hcall.SUCCESS);
});

Deno.test("TceTable.stuffTce() that runs off the end keeps what it stored", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 1000 });
  assertEquals(table.stuffTce(998n << 12n, 3n, 3n), { ret: Hcall.PARAMETER, stored: 2 });
  assertEquals(table.entry(999), 3n);
  assertEquals(table.stuffTce(0n, 3n, 0n), { ret: Hcall.PARAMETER, stored: 0 });
  assertEquals(table.stuffTce(0n, 3n, 1001n), { ret: Hcall.PARAMETER, stored: 0 });
  assertEquals(table.stuffTce(0n, 3n, 1n << 32n), { ret: Hcall.PARAMETER, stored: 0 });
  assertEquals(table.stored, 2);
});

Deno.test("TceTable.putTceIndirect() reads big-endian entries, and zeros outside of memory", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 1024 });
  const memory = memoryWith(0x3000, [0x1003n, 0x2001n]);
  assertEquals(table.putTceIndirect(0n, 0x3000n, 2n, memory), { ret: Hcall.SUCCESS, stored: 2 });
  assertEquals([table.entry(0), table.entry(1)], [0x1003n, 0x2001n]);
  assertEquals(table.putTceIndirect(0n, 0x8000n, 2n, memory).ret, Hcall.SUCCESS);
  assertEquals(table.stored, 0);
  const short = new ArrayGuestMemory(memory.bytes.slice(0, 0x3008));
  assertEquals(table.putTceIndirect(0n, 0x3000n, 2n, short).ret, Hcall.SUCCESS);
  assertEquals([table.entry(0), table.entry(1)], [0x1003n, 0n]);
  for (const [list, npages] of [[0x3008n, 1n], [0x3000n, 0n], [0x3000n, 513n], [0x3000n, 1n << 40n]] as const) {
    assertEquals(table.putTceIndirect(0n, list, npages, memory), { ret: Hcall.PARAMETER, stored: 0 });
  }
  assertEquals(table.putTceIndirect(1023n << 12n, 0x3000n, 2n, memory), { ret: Hcall.PARAMETER, stored: 1 });
});

/** A notifier that writes down what it hears. */
function listen(table: TceTable): string[] {
  const heard: string[] = [];
  registerNotifier(
    table.region,
    new IommuNotifier({
      flags: IommuNotifierFlag.IOTLB_EVENTS,
      notify: ({ type, iova, target, perm }) => {
        const what = type === IommuNotifierFlag.MAP ? `MAP ${target.toString(16)} ${perm}` : "UNMAP";
        heard.push(`${iova.start.toString(16)}..${iova.last.toString(16)} ${what}`);
      },
    }),
  );
  return heard;
}

Deno.test("TceTable tells of a change in place as UNMAP, then MAP", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16, busOffset: 0x10_0000n });
  const heard = listen(table);
  table.putTce(0x10_1000n, 0x5003n);
  table.putTce(0x10_1000n, 0x6001n);
  assertEquals(heard.splice(0), ["1000..1fff MAP 5000 3", "1000..1fff UNMAP", "1000..1fff MAP 6000 1"]);
  table.putTce(0x10_1000n, 0x6ff1n);
  table.putTce(0x10_2000n, 0n);
  assertEquals(heard, [], "neither ignored bits nor an empty entry that stays empty are news");
  assertEquals(table.entry(1), 0x6ff1n);
});

Deno.test("TceTable tells of one run where targets adjoin", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 2000 });
  const heard = listen(table);
  const list = Array.from({ length: 512 }, (_, i) => (BigInt(i) << 12n) | 3n);
  table.putTceIndirect(0n, 0n, 512n, memoryWith(0, list));
  assertEquals(heard.splice(0), ["0..1fffff MAP 0 3"]);
  table.stuffTce(0n, 0n, 2000n);
  assertEquals(heard, ["0..1fffff UNMAP"]);
});

Deno.test("TceTable delivers more extents than fit one batch", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 10_000 });
  const heard = listen(table);
  table.stuffTce(0n, 0x5003n, 10_000n);
  assertEquals(heard.length, 10_000);
  assertEquals(heard[9_999], "270f000..270ffff MAP 5000 3");
});

/** A notifier that mirrors a table and refuses to map some pages. */
function mirror(table: TceTable, refuses: (page: bigint, pages: Map<bigint, bigint>) => boolean): Map<bigint, bigint> {
  const pages = new Map<bigint, bigint>();
  registerNotifier(
    table.region,
    new IommuNotifier({
      flags: IommuNotifierFlag.IOTLB_EVENTS,
      notify: ({ type, iova, target, perm }) => {
        for (let at = iova.start; at <= iova.last; at += 0x1000n) {
          if (type === IommuNotifierFlag.UNMAP) pages.delete(at);
          else if (refuses(at, pages)) {
            for (let done = iova.start; done < at; done += 0x1000n) pages.delete(done);
            throw new IommuError("mapping-limit", "Cannot map: the host is full");
          } else pages.set(at, (target + at - iova.start) | BigInt(perm));
        }
      },
    }),
  );
  return pages;
}

Deno.test("a call that the host refuses has no effect", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16 });
  const pages = mirror(table, (page) => page === 0x3000n);
  assertEquals(table.putTce(0x2000n, 0x8003n).ret, Hcall.SUCCESS);
  const result = table.stuffTce(0x1000n, 0x9001n, 4n);
  assertEquals([result.ret, result.stored, result.error?.code], [Hcall.NOT_ENOUGH_RESOURCES, 0, "mapping-limit"]);
  assertEquals([table.stored, table.entry(2)], [1, 0x8003n]);
  assertEquals([...pages], [[0x2000n, 0x8003n]]);
});

Deno.test("a guest's own mistake in a call that the host refuses too is undone as a whole", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16 });
  mirror(table, (page) => page === 0xf000n);
  assertEquals(table.stuffTce(0xe000n, 0x9001n, 3n).ret, Hcall.NOT_ENOUGH_RESOURCES);
  assertEquals(table.stored, 0);
});

Deno.test("onHostFailure qemu keeps the entries that the host refused, and the guest hears success", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16, onHostFailure: "qemu" });
  const pages = mirror(table, (page) => page === 0x3000n);
  const result = table.stuffTce(0x2000n, 0x9001n, 3n);
  assertEquals([result.ret, result.stored, result.error?.code], [Hcall.SUCCESS, 3, "mapping-limit"]);
  assertEquals([...pages.keys()], [0x2000n, 0x4000n]);
  assertEquals(table.mapped, 3);
  table.putTce(0x4000n, 0xa003n);
  assertEquals(pages.get(0x4000n), 0xa003n);
});

Deno.test("an entry whose old mapping is lost reads 0", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16 });
  let full = false;
  registerNotifier(
    table.region,
    new IommuNotifier({
      flags: IommuNotifierFlag.IOTLB_EVENTS,
      notify: (event) => {
        if (full && event.type === IommuNotifierFlag.MAP) throw new Error("full");
      },
      begin: () => {},
      rollback: () => [{ start: 0x2000n, last: 0x2fffn }],
    }),
  );
  table.stuffTce(0x1000n, 0x8003n, 3n);
  full = true;
  const result = table.stuffTce(0x1000n, 0x9003n, 3n);
  assertEquals([result.ret, result.error?.code], [Hcall.NOT_ENOUGH_RESOURCES, "mapping-lost"]);
  assertEquals([1, 2, 3].map((index) => table.entry(index)), [0x8003n, 0n, 0x8003n]);
});

Deno.test("entries whose old mappings cannot be removed read 0", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16 });
  table.stuffTce(0x1000n, 0x8003n, 3n);
  registerNotifier(
    table.region,
    new IommuNotifier({
      flags: IommuNotifierFlag.IOTLB_EVENTS,
      notify: (event) => {
        if (event.type === IommuNotifierFlag.UNMAP) throw new Error("stuck");
      },
    }),
  );
  const cleared = table.putTce(0x1000n, 0n);
  assertEquals([cleared.ret, cleared.error?.code, table.entry(1)], [Hcall.HARDWARE, "unmap-failed", 0n]);
  const replaced = table.putTceIndirect(0x2000n, 0n, 3n, memoryWith(0, [0x9003n, 0x8003n, 0xa003n]));
  assertEquals([replaced.ret, replaced.error?.code], [Hcall.NOT_ENOUGH_RESOURCES, "unmap-failed"]);
  assertEquals([2, 3, 4].map((index) => table.entry(index)), [0n, 0x8003n, 0n], "what stayed the same stays");
});

Deno.test("TceTable refuses more entries than its limit before anything is stored", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 64, entryLimit: 10 });
  const result = table.stuffTce(0n, 3n, 11n);
  assertEquals([result.ret, result.stored, result.error?.code], [Hcall.NOT_ENOUGH_RESOURCES, 0, "entry-limit"]);
  assertEquals(table.stored, 0);
  assertEquals(table.stuffTce(0n, 3n, 10n).ret, Hcall.SUCCESS);
  assertEquals(table.putTce(0xa000n, 3n).error?.code, "entry-limit");
  assertEquals(table.putTce(0x9000n, 1n).ret, Hcall.SUCCESS);
});

Deno.test("a notifier cannot write to the table that it listens to", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16 });
  registerNotifier(
    table.region,
    new IommuNotifier({
      flags: IommuNotifierFlag.MAP,
      notify: () => void table.putTce(0x5000n, 3n),
    }),
  );
  const result = table.putTce(0x1000n, 3n);
  assertEquals(result.ret, Hcall.NOT_ENOUGH_RESOURCES);
  const cause = result.error?.code === "change-in-progress" ? result.error : result.error?.cause;
  assert(cause instanceof IommuError && cause.code === "change-in-progress");
  assertEquals(table.stored, 0);
});

Deno.test("TceTable.reset() unmaps everything", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16, busOffset: 0x8000_0000n });
  const heard = listen(table);
  table.putTce(0x8000_f000n, 3n);
  assertEquals(table.reset(), { ret: Hcall.SUCCESS, stored: 16 });
  assertEquals(heard, ["f000..ffff MAP 0 3", "f000..ffff UNMAP"]);
});

Deno.test("TceTable.translate() tells the page, whatever its size, up to the top of the space", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 2, pageShift: 63 });
  table.putTce(2n ** 64n - 1n, 2n ** 64n - 1n);
  const page = { start: 1n << 63n, last: 2n ** 64n - 1n };
  assertEquals(table.translate(2n ** 64n - 1n), {
    iova: page,
    target: 1n << 63n,
    perm: IommuPerm.READ_WRITE,
    pageSize: 1n << 63n,
  });
  assertStrictEquals(table.translate(0n), undefined);
  assertEquals(table.region.size, 1n << 64n);
  assertEquals(table.region.minPageSize, 1n << 63n);
});

Deno.test("TceTable does not take notifiers for device IOTLBs", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 2 });
  const notifier = new IommuNotifier({ flags: IommuNotifierFlag.DEVIOTLB_UNMAP, notify: () => {} });
  const error = assertThrows(() => registerNotifier(table.region, notifier), IommuError);
  assertEquals(error.code, "notifier-refused");
  assertEquals(table.region.notifiers.size, 0);
});

Deno.test("TceTable names what is wrong with an argument", () => {
  assertThrows(() => new TceTable({ liobn: 2 ** 32, entries: 1 }), RangeError, "liobn");
  assertThrows(() => new TceTable({ liobn: LIOBN, entries: 0 }), RangeError, "entries");
  assertThrows(() => new TceTable({ liobn: LIOBN, entries: 1, pageShift: 64 }), RangeError, "pageShift");
  assertThrows(() => new TceTable({ liobn: LIOBN, entries: 3, pageShift: 63 }), RangeError, "passes the top");
  assertThrows(
    () => new TceTable({ liobn: LIOBN, entries: 1, onHostFailure: "panic" as "qemu" }),
    RangeError,
    "onHostFailure",
  );
  const nothing = null as unknown as undefined;
  for (const field of ["pageShift", "busOffset", "entryLimit"]) {
    assertThrows(() => new TceTable({ liobn: LIOBN, entries: 1, [field]: nothing }), TypeError, field);
  }
  assertThrows(() => new TceTable({ liobn: LIOBN, entries: 1, onHostFailure: nothing! }), RangeError, "onHostFailure");
  using table = new TceTable({ liobn: LIOBN, entries: 1 });
  assertThrows(() => table.putTce(1n << 64n, 0n), RangeError, "ioba");
  assertThrows(() => table.putTce(0n, -1n), RangeError, "tce");
  assertThrows(() => table.stuffTce(0n, 0n, 1 as unknown as bigint), TypeError, "npages");
});

Deno.test("a disposed TceTable says so", () => {
  const table = new TceTable({ liobn: LIOBN, entries: 1 });
  table[Symbol.dispose]();
  table[Symbol.dispose]();
  for (
    const use of [() => table.putTce(0n, 0n), () => table.getTce(0n), () => table.stored, () => table.translate(0n)]
  ) {
    assertEquals(assertThrows(use, IommuError).code, "disposed");
  }
});

Deno.test("TceTable takes no limit that the core's memory could not hold", () => {
  const limit = MAX_ENTRY_LIMIT + 1;
  assertThrows(() => new TceTable({ liobn: LIOBN, entries: limit, entryLimit: limit }), RangeError, "entryLimit");
  using table = new TceTable({ liobn: LIOBN, entries: 0xffff_ffff, entryLimit: MAX_ENTRY_LIMIT });
  assertEquals(table.stuffTce(0n, 3n, 0xffff_ffffn).error?.code, "entry-limit");
  assertEquals(table.stored, 0);
});

Deno.test("a TceTable that a refusing notifier disposes of says so, whatever there is to take back", () => {
  for (const type of [IommuNotifierFlag.MAP, IommuNotifierFlag.UNMAP]) {
    const table = new TceTable({ liobn: LIOBN, entries: 16 });
    table.putTce(0n, 0x1003n);
    const notifier = new IommuNotifier({
      flags: IommuNotifierFlag.IOTLB_EVENTS,
      notify: (event) => {
        if (event.type !== type) return;
        table[Symbol.dispose]();
        throw new Error("no");
      },
    });
    registerNotifier(table.region, notifier);
    assertEquals(assertThrows(() => table.putTce(0n, 0x2003n), IommuError).code, "disposed");
  }
});

/** A guest's memory that does something before it reads a list of one entry. */
function memoryThat(act: () => void, tce: bigint): GuestMemory {
  const memory = memoryWith(0, [tce]);
  return {
    size: memory.size,
    read: (address, into) => {
      act();
      return memory.read(address, into);
    },
    write: (address, from) => memory.write(address, from),
  };
}

Deno.test("a TceTable that GuestMemory.read() disposes of says so", () => {
  const table = new TceTable({ liobn: LIOBN, entries: 16 });
  const memory = memoryThat(() => table[Symbol.dispose](), 0x1003n);
  assertEquals(assertThrows(() => table.putTceIndirect(0n, 0n, 1n, memory), IommuError).code, "disposed");
});

Deno.test("a notifier that joins or leaves while a list is read hears what is true then", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 16 });
  let heard: string[] = [];
  table.putTceIndirect(0n, 0n, 1n, memoryThat(() => heard = listen(table), 0x1003n));
  assertEquals(heard, ["0..fff MAP 1000 3"]);
});
