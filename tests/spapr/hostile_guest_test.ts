// No value in any argument makes a machine throw, trap, hang or store without bound.
import { type GuestMemory, readDma, writeDma } from "@giommu/memory-api";
import { HcallOpcode, RTAS_TOKENS, SpaprMachine } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";

const UNIT = 0x7100_0001;
const RAM = 0x1_0000;
const LIMIT = 600;

function machineOf(): SpaprMachine {
  return new SpaprMachine({
    ram: BigInt(RAM),
    phbs: [{ index: 0 }, { index: 1 }],
    vios: [{ unit: UNIT }],
    entryLimit: LIMIT,
  });
}

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
/** Values near which something changes: ends of tables, limits of calls, single bits. */
const edge = fc.oneof(
  u64,
  fc.integer({ min: 0, max: 63 }).map((bit) => 1n << BigInt(bit)),
  fc.constantFrom(
    0n,
    1n,
    511n,
    512n,
    513n,
    0x3fff_f000n,
    0x4000_0000n,
    0x4_0000n,
    1n << 59n,
    2n ** 64n - 1n,
    BigInt(RAM) - 8n,
  ),
);
const liobn = fc.oneof(edge, fc.constantFrom(0x8000_0000n, 0x8000_0001n, 0x8000_0100n, BigInt(UNIT)));
const word = fc.oneof(
  u32,
  fc.constantFrom(0, 12, 16, 24, 31, 63, 64, 76, 0x0800_0000, 0x2000_0000, 0x2000_0001, UNIT, 0x8000_0000, 0x8000_0001),
);

Deno.test("any registers: an answer, no exception, no other register changed", () => {
  const opcode = fc.constantFrom(...Object.values(HcallOpcode));
  fc.assert(
    fc.property(fc.array(fc.tuple(opcode, liobn, edge, edge, edge), { minLength: 1, maxLength: 30 }), (calls) => {
      using machine = machineOf();
      for (const call of calls) {
        const registers = new BigUint64Array(10);
        registers.set(call);
        assert(machine.hcallRegisters(registers));
        const ret = Number(BigInt.asIntN(64, registers[0] ?? 1n));
        assert([0, -4, -44].includes(ret), `${ret}`);
        const [op, r4, ...rest] = call;
        if (op !== HcallOpcode.GET_TCE || ret !== 0) assertEquals(registers[1], r4);
        assertEquals([...registers.subarray(2, 5)], rest);
        assertLessOrEqual(machine.stored, LIMIT);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("any RTAS call, by its arguments or as a block anywhere: a status, no exception, windows as the container sees them", () => {
  const token = fc.oneof(fc.constantFrom(...Object.values(RTAS_TOKENS)), u32);
  const call = fc.tuple(token, fc.array(word, { maxLength: 7 }), fc.oneof(fc.integer({ min: 0, max: 7 }), u32));
  fc.assert(
    fc.property(fc.array(call, { minLength: 1, maxLength: 20 }), fc.array(edge, { maxLength: 4 }), (calls, blocks) => {
      using machine = machineOf();
      using container = new VfioContainer({ host: new SimulatedHost() });
      container.attach(machine.phb(0).space);
      for (const [which, args, nret] of calls) {
        const { ret, status, rets } = machine.rtas(which, args, nret);
        assert([0, -1, -3].includes(status) && [0, -4].includes(ret) && rets.length > 0);
        machine.putTce(0x8000_0001n, 1n << 59n, 0x3003n);
      }
      for (const block of blocks) {
        const bytes = new Uint8Array(64);
        const view = new DataView(bytes.buffer);
        const [which = 0, args = [], nret = 0] = calls[0] ?? [];
        [which, args.length, nret, ...args].forEach((one, at) => view.setUint32(4 * at, one));
        machine.ram.write(block & 0xfff8n, bytes);
        assert([0, -4].includes(machine.hcall(HcallOpcode.RTAS, [block]).ret));
      }
      assert(verify(container).agrees);
    }),
    { numRuns: 300 },
  );
});

Deno.test("any DMA: zeros where nothing is, nothing written outside RAM, always an end", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(edge, u64), { maxLength: 8 }),
      edge,
      fc.integer({ min: 0, max: 0x3000 }),
      (puts, bus, length) => {
        using machine = machineOf();
        machine.rtas("ibm,create-pe-dma-window", [0, ...machine.phb(0).buidCells, 16, 47], 4);
        for (const [ioba, tce] of puts) {
          for (const table of [0x8000_0000, 0x8000_0001, UNIT]) machine.putTce(table, ioba, tce);
        }
        for (const space of [machine.phb(0).space, machine.vio(UNIT).space]) {
          const bytes = new Uint8Array(length).fill(0xff);
          const { bytes: real, lost } = readDma(space, bus, bytes);
          assertEquals(real + lost, length);
          assertEquals(bytes.filter((byte) => byte !== 0).length, 0, "RAM holds zeros, and so does nothing");
          writeDma(space, bus, new Uint8Array(length));
        }
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("memory that answers in its own way is no way in: a list that changes while it is read, or reenters the machine", () => {
  const memory: GuestMemory = {
    size: 0x1_0000n,
    read(_gpa, target) {
      target.fill(0xff);
      machine.stuffTce(0x8000_0000, 0n, 0x5003n, 4n);
      machine.rtas("ibm,remove-pe-dma-window", [0x8000_0001], 1);
      return true;
    },
    write: () => true,
  };
  using machine: SpaprMachine = new SpaprMachine({ ram: memory, phbs: [{ index: 0 }] });
  machine.rtas("ibm,create-pe-dma-window", [0, ...machine.phb(0).buidCells, 12, 30], 4);
  assertEquals(machine.putTceIndirect(0x8000_0000, 0n, 0x1000n, 2n).ret, 0);
  assertEquals([0, 1, 2].map((at) => machine.table(0x8000_0000)?.entry(at)), [2n ** 64n - 1n, 2n ** 64n - 1n, 0x5003n]);
});
