// A guest's RTAS calls on a host with windows of its own: both have the same windows, or the guest is told that it failed.
import { RtasStatus, SpaprMachine } from "@giommu/spapr-tce";
import { SimulatedSpaprHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";

const [LOW, HIGH] = [0x8000_0000, 0x8000_0001];
const BIT59 = 1n << 59n;

function setUp(phb: { readonly dma64WinAddr?: bigint; readonly pgsz?: bigint } = {}) {
  const machine = new SpaprMachine({ ram: 0x100_0000n, phbs: [{ index: 0, ...phb }] });
  const { space, buidCells } = machine.phb(0);
  const host = new SimulatedSpaprHost();
  const container = new VfioContainer({ host });
  container.attach(space);
  return {
    machine,
    host,
    container,
    create: (pageShift: number, windowShift: number) =>
      machine.rtas("ibm,create-pe-dma-window", [0, ...buidCells, pageShift, windowShift], 4),
    remove: (liobn: number) => machine.rtas("ibm,remove-pe-dma-window", [liobn], 1),
    starts: () => host.windows.map(({ start }) => start),
    [Symbol.dispose]() {
      container.dispose();
      assertEquals([host.size, host.windows.length], [0, 0]);
      machine[Symbol.dispose]();
    },
  };
}

Deno.test("windows that the guest creates and removes come and go on the host, with what is mapped there", () => {
  using all = setUp();
  const { machine, host, container, create, remove, starts } = all;
  assertEquals(starts(), [0n], "the default window");
  assertEquals(create(16, 40).rets, [0, HIGH, Number(BIT59 >> 32n), 0]);
  assertEquals(starts(), [0n, BIT59]);
  assertEquals(machine.putTce(HIGH, BIT59, 0x1_0003n).ret, 0);
  assertEquals(machine.putTce(HIGH, BIT59, 0x2_0003n).ret, 0);
  assertEquals([host.size, verify(container).agrees], [1, true]);
  assertEquals(remove(HIGH).status, RtasStatus.SUCCESS);
  assertEquals([starts(), host.size], [[0n], 0]);
  machine.reset();
  assertEquals(starts(), [0n]);
});

Deno.test("a window that the host puts somewhere else, or cannot make at all, is a hardware error and leaves nothing", () => {
  using elsewhere = setUp({ dma64WinAddr: 1n << 40n });
  const moved = elsewhere.create(16, 30);
  assertEquals([moved.status, moved.error?.code], [RtasStatus.HARDWARE_ERROR, "iova-out-of-range"]);
  assert(moved.error?.remedy?.includes("dma64_win_addr"));
  assertEquals([elsewhere.starts(), elsewhere.machine.tables.length], [[0n], 1]);

  using refusing = setUp();
  refusing.host.failWhen({ call: ({ call }) => call === "CREATE", errno: "ENOMEM" });
  assertEquals(refusing.create(16, 30).status, RtasStatus.HARDWARE_ERROR);
  assertEquals([refusing.starts(), refusing.machine.tables.length], [[0n], 1]);
  refusing.host.failNoMore();
  assertEquals(refusing.create(16, 30).rets[1], HIGH, "the next one is like any other");
});

Deno.test("of two windows at one bus address a POWER host holds one: a second that would show beyond it is refused", () => {
  using all = setUp();
  all.create(16, 30);
  all.remove(LOW);
  assertEquals(all.starts(), [BIT59]);
  const second = all.create(16, 31);
  assertEquals([second.status, second.error !== undefined], [RtasStatus.HARDWARE_ERROR, true]);
  assertEquals([all.starts(), all.machine.tables.map(({ liobn }) => liobn)], [[BIT59], [HIGH]]);
  assertEquals(all.create(16, 30).status, RtasStatus.SUCCESS, "one that is hidden as a whole needs no window");
  assertEquals(all.starts(), [BIT59]);
});

Deno.test("a state with other windows brings the host's along", () => {
  using from = setUp();
  from.create(24, 34);
  from.machine.putTce(HIGH, BIT59, 3n);
  using to = setUp();
  to.machine.putTce(LOW, 0x5000n, 0x1003n);
  to.machine.restore(from.machine.save());
  assertEquals([to.starts(), to.host.size], [[0n, BIT59], 1]);
  assert(verify(to.container).agrees);
});
