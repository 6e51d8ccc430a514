// deno run --allow-read=tests/data/vectors examples/own_test_suite.ts
//
// The author of a VMM tests it: with what QEMU's guests were answered, with random guests beside a plain model, and with
// hosts that fail where a script says. `test` stands for Deno.test, node:test or whatever you use.
import { HcallOpcode } from "@giommu/spapr-tce";
import { ModelMachine, parseRecording, performAction, playRecordingOn, randomGuest } from "@giommu/testing";
import { type GuestMachine, SpaprModel, SparseGuestMemory } from "@giommu/testing";
import { HostError, type HostIommu, type HostMapping, SimulatedHost } from "@giommu/vfio-sync";

const RAM = 256n << 20n;
const LIOBN = 0x8000_0000n;
const PAGES = 0x4_0000n; // 1 GiB of 4 KiB pages
const PARAMETER = BigInt.asUintN(64, -4n);

/** The VMM under test: one window, H_PUT_TCE, H_GET_TCE, and a hotplug. Everything else is yet to be written. */
class MyVmm implements GuestMachine {
  readonly ram = new SparseGuestMemory(RAM);
  readonly tces = new Map<bigint, bigint>();

  reset(): void {
    this.tces.clear();
  }

  hcallRegisters(registers: BigUint64Array): boolean {
    const [opcode, liobn, ioba = 0n, tce = 0n] = registers;
    if (opcode !== HcallOpcode.PUT_TCE && opcode !== HcallOpcode.GET_TCE) return false;
    const page = ioba >> 12n;
    const found = liobn === LIOBN && page < PAGES;
    registers[0] = found ? 0n : PARAMETER;
    if (found && opcode === HcallOpcode.PUT_TCE) this.tces.set(page, tce);
    if (found && opcode === HcallOpcode.GET_TCE) registers[1] = this.tces.get(page) ?? 0n;
    return true;
  }

  /** Mirrors the table to a host; if that refuses, takes back what was mapped. */
  plug(host: HostIommu): void {
    const done: HostMapping[] = [];
    try {
      for (const [page, tce] of this.tces) {
        if ((tce & 3n) === 0n) continue;
        const iova = { start: page << 12n, last: (page << 12n) + 0xfffn };
        const mapping: HostMapping = { iova, gpa: tce & ~0xfffn, perm: Number(tce & 3n) as 1 | 2 | 3 };
        host.map(mapping);
        done.push(mapping);
      }
    } catch (error) {
      for (const { iova } of done) host.unmap(iova);
      throw error;
    }
  }
}

test("The VMM answers every call that it knows as QEMU 10.0.2 did", () => {
  const text = Deno.readTextFileSync(new URL("../tests/data/vectors/put_get.jsonl", import.meta.url));
  const { passed, differences } = playRecordingOn(parseRecording("put_get", text), new MyVmm());
  if (passed === 0 || differences.length > 0) throw new Error(JSON.stringify(differences[0]));
  return `${passed} operations`;
});

test("Random guests see the same on the VMM and on the model", () => {
  let compared = 0;
  for (let seed = 0; seed < 10; seed++) {
    const vmm = new MyVmm();
    const model = new ModelMachine(new SpaprModel({ phbs: [{ index: 0, ddw: false }] }), new SparseGuestMemory(RAM));
    for (const action of randomGuest({ seed, phbs: [{ index: 0 }], actions: 500 })) {
      const mine = performAction(vmm, action);
      if (mine === undefined) continue; // a call that is yet to be written
      const expected = performAction(model, action);
      if (JSON.stringify(mine) !== JSON.stringify(expected)) {
        throw new Error(`seed ${seed}: ${JSON.stringify(mine)}, expected ${JSON.stringify(expected)}`);
      }
      compared++;
    }
  }
  return `${compared} actions`;
});

test("Whichever host call fails, a hotplug leaves nothing", () => {
  const vmm = new MyVmm();
  for (let page = 0n; page < 5n; page++) vmm.tces.set(page, 0x10_0003n + (page << 12n));
  for (let call = 1; call <= 5; call++) {
    const host = new SimulatedHost({ rules: "type1", failAt: [{ call, errno: "ENOMEM" }] });
    try {
      vmm.plug(host);
      throw new Error(`call ${call} did not fail`);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
    }
    if (host.size > 0) throw new Error(`call ${call} left ${host.size} mappings`);
  }
  return "5 calls";
});

function test(name: string, run: () => string): void {
  console.log(`ok  ${name} (${run()})`);
}
