import { assertEquals, assertThrows } from "@std/assert";
import { parsed } from "../vm.ts";
import { NoVm } from "./debian.ts";
import { kernelAt, loadOrder } from "./kernel.ts";

const MODULES_DEP = `kernel/drivers/vfio/vfio.ko:
kernel/drivers/vfio/vfio_iommu_type1.ko.xz: kernel/drivers/vfio/vfio.ko
kernel/drivers/vfio/pci/vfio-pci.ko: kernel/drivers/vfio/pci/vfio-pci-core.ko kernel/drivers/vfio/vfio.ko
kernel/drivers/vfio/pci/vfio-pci-core.ko: kernel/virt/lib/irqbypass.ko kernel/drivers/vfio/vfio.ko
kernel/virt/lib/irqbypass.ko:
`;

Deno.test("modules are loaded after those that they need, each once", () => {
  const names = loadOrder(MODULES_DEP, ["vfio-pci", "vfio_iommu_type1", "overlay"]).map((path) =>
    path.split("/").at(-1)
  );
  assertEquals(names, ["irqbypass.ko", "vfio.ko", "vfio-pci-core.ko", "vfio-pci.ko", "vfio_iommu_type1.ko.xz"]);
});

Deno.test("a kernel that is not there is no kernel", () => {
  assertThrows(() => kernelAt("/no/such/bzImage"), NoVm, "there is no such file");
});

Deno.test("options of the VM end where its command begins", () => {
  const { options, command } = parsed(["--seconds", "60", "--append", "a=1", "deno", "run", "--allow-read", "x.ts"]);
  assertEquals([options.seconds, options.append], [60, "a=1"]);
  assertEquals(command, [Deno.execPath(), "run", "--allow-read", "x.ts"]);
  assertEquals(parsed(["--", "--odd"]).command, ["--odd"]);
  for (const wrong of [[], ["--kernel"], ["--nonsense", "1", "ls"], ["--seconds", "soon", "ls"]]) {
    assertThrows(() => parsed(wrong), NoVm);
  }
});
