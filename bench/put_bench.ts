// H_PUT_TCE through the public API: alone, with a notifier, with a container on a simulated host. The first group is the
// same call with more and more listening to it.
import { registerNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { SpaprMachine, SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";

const PAGES = 1 << 14;

// Made beforehand: a guest's registers hold them, and to make a bigint costs about as much as half a put.
const addresses = Array.from({ length: PAGES }, (_, page) => BigInt(page) << 12n);
// Every put changes an entry: the targets of one round are never those of the next.
const entries = [1n, 2n].map((round) => addresses.map((address) => address | round << 40n | 3n));

/** What the next put writes where. */
function turns(): () => readonly [ioba: bigint, tce: bigint] {
  let turn = 0;
  return () => {
    const page = turn % PAGES;
    const round = entries[(turn++ - page) / PAGES % 2] as bigint[];
    return [addresses[page] as bigint, round[page] as bigint];
  };
}

function bridge() {
  const phb = new SpaprPhb({ index: 0 });
  const table = phb.defaultWindow;
  const next = turns();
  return { phb, table, put: () => void table.putTce(...next()) };
}

const alone = bridge();
Deno.bench("nobody listens", { group: "put" }, alone.put);

const machine = new SpaprMachine({ ram: 1n << 20n, phbs: [{ index: 0 }] });
const registers = new BigUint64Array(10);
registers[1] = 0x8000_0000n;
const next = turns();
Deno.bench("by LIOBN, on a machine", { group: "put" }, () => void machine.putTce(0x8000_0000n, ...next()));
Deno.bench("by registers, on a machine", { group: "put" }, () => {
  registers[0] = 0x20n;
  [registers[2], registers[3]] = next();
  machine.hcallRegisters(registers);
});

const told = bridge();
registerNotifier(told.table.region, new IommuNotifier({ flags: IommuNotifierFlag.IOTLB_EVENTS, notify: () => {} }));
Deno.bench("one notifier", { group: "put" }, told.put);

const mirrored = bridge();
new VfioContainer({ host: new SimulatedHost({ rules: "iommufd" }) }).attach(mirrored.phb.space);
Deno.bench("one container", { group: "put" }, mirrored.put);
