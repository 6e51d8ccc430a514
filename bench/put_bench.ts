// H_PUT_TCE through the public API: alone, with a notifier, with a container on a simulated host. The first group is the
// same call with more and more listening to it.
import { registerNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { SpaprMachine, SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";

const PAGES = 1 << 18;

function bridge() {
  const phb = new SpaprPhb({ index: 0 });
  const table = phb.defaultWindow;
  let page = 0;
  // Every put changes an entry: the targets of one round are never those of the next.
  let round = 0n;
  return {
    phb,
    table,
    put: () => {
      table.putTce(BigInt(page) << 12n, BigInt(page) << 12n | round << 40n | 3n);
      if (++page === PAGES) [page, round] = [0, round + 1n];
    },
  };
}

const alone = bridge();
Deno.bench("nobody listens", { group: "put" }, alone.put);

const machine = new SpaprMachine({ ram: 1n << 20n, phbs: [{ index: 0 }] });
const registers = new BigUint64Array(10);
let turn = 0n;
const next = () => [BigInt.asUintN(30, turn << 12n), turn++ << 12n | 3n] as const;
Deno.bench("by LIOBN, on a machine", { group: "put" }, () => void machine.putTce(0x8000_0000n, ...next()));
Deno.bench("by registers, on a machine", { group: "put" }, () => {
  registers.set([0x20n, 0x8000_0000n, ...next()]);
  machine.hcallRegisters(registers);
});

const told = bridge();
registerNotifier(told.table.region, new IommuNotifier({ flags: IommuNotifierFlag.IOTLB_EVENTS, notify: () => {} }));
Deno.bench("one notifier", { group: "put" }, told.put);

const mirrored = bridge();
new VfioContainer({ host: new SimulatedHost({ rules: "iommufd" }) }).attach(mirrored.phb.space);
Deno.bench("one container", { group: "put" }, mirrored.put);
