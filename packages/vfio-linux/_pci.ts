import { IommuError } from "@giommu/core";
import { errnoName, must } from "./_errno.ts";
import { library } from "./_library.ts";

/** Below `/sys`. */
const BUS = "bus/pci/devices";

/** Checks the address of a PCI device, as `0000:00:04.0`; the domain 0000 may be left out. */
export function pciAddress(name: string, address: unknown): string {
  if (typeof address !== "string") throw new TypeError(`Cannot use ${name}: expected a string, got ${typeof address}`);
  const short = /^[\da-f]{2}:[01][\da-f]\.[0-7]$/i.test(address);
  const full = short ? `0000:${address}` : address;
  if (!/^[\da-f]{4,8}:[\da-f]{2}:[01][\da-f]\.[0-7]$/i.test(full)) {
    throw new RangeError(`Cannot use ${name}: ${JSON.stringify(address)} is no PCI address such as 0000:00:04.0`);
  }
  return full.toLowerCase();
}

/** As {@linkcode pciAddress}; a device may be named as in `/dev/vfio/devices` too. */
export function deviceAddress(name: string, device: unknown): string {
  if (typeof device !== "string" || !/^vfio\d+$/.test(device)) return pciAddress(name, device);
  const address = linkName(`class/vfio-dev/${device}/device`);
  if (address !== undefined) return pciAddress(name, address);
  throw new IommuError("backend-unavailable", `Cannot use device ${device}: /dev/vfio/devices has none of that name`, {
    remedy: "name it by its PCI address",
  });
}

/** The number of the IOMMU group of a device that is bound to vfio-pci. */
export function groupOf(address: string): number {
  checkDriver(address);
  const group = linkName(`${BUS}/${address}/iommu_group`);
  if (group === undefined) {
    throw new IommuError("backend-unavailable", `Cannot use device ${address}: it is in no IOMMU group`, {
      remedy: "switch the IOMMU on: in the firmware, and with intel_iommu=on where the kernel does not do it by itself",
    });
  }
  return Number(group);
}

/** The path of the device's own file, which a kernel with VFIO_DEVICE_CDEV has. */
export function deviceFileOf(address: string): string {
  checkDriver(address);
  const name = children(`${BUS}/${address}/vfio-dev`)[0];
  if (name === undefined) {
    throw new IommuError("backend-unavailable", `Cannot use device ${address}: it has no file in /dev/vfio/devices`, {
      remedy: "use a kernel with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (6.6 or newer), or LinuxVfio",
    });
  }
  return `/dev/vfio/devices/${name}`;
}

/**
 * Whether the IOMMU of a device has mappings that can be written and not read. The kernel does not tell, and drivers differ:
 * VT-d's makes them readable too (since 5.12; seen on 6.1 and 6.12, in the page table and by DMA), AMD's does not
 * (drivers/iommu/amd/io_pgtable.c). Of any other, nothing is assumed.
 */
export function hasWriteOnly(address: string | undefined): boolean {
  return address !== undefined && (linkName(`${BUS}/${address}/iommu`) ?? "").startsWith("ivhd");
}

/** The PCI devices of a group. */
export function devicesOf(group: number): string[] {
  return children(`kernel/iommu_groups/${group}/devices`);
}

/** Devices of a group that keep VFIO from using it, each with its driver. */
export function blockersOf(group: number): string[] {
  return devicesOf(group).flatMap((device) => {
    const driver = linkName(`${BUS}/${device}/driver`);
    // Bridges may keep the PCI port driver.
    return driver === undefined || /^(?:vfio-pci|pcieport|pci-stub)$/.test(driver) ? [] : [`${device} (${driver})`];
  });
}

function checkDriver(address: string): void {
  if (linkName(`${BUS}/${address}`) === undefined) {
    throw new IommuError("backend-unavailable", `Cannot use device ${address}: there is no such PCI device`, {
      remedy: "look for its address with lspci -D",
    });
  }
  const driver = linkName(`${BUS}/${address}/driver`);
  if (driver === "vfio-pci") return;
  throw new IommuError(
    "backend-unavailable",
    `Cannot use device ${address}: ${driver === undefined ? "no driver" : driver} holds it, not vfio-pci`,
    {
      remedy:
        `modprobe vfio-pci; ${driver === undefined ? "" : `echo ${address} > /sys/${BUS}/${address}/driver/unbind; `}` +
        `echo vfio-pci > /sys/${BUS}/${address}/driver_override; echo ${address} > /sys/bus/pci/drivers_probe`,
    },
  );
}

/** The last name of what a link leads to; `undefined` if it is not there. */
function linkName(path: string): string | undefined {
  return asked(path, (bytes, out) => library().giommu_sysfs_link(bytes, out));
}

/** The names in a folder; none if it is not there. */
function children(path: string): string[] {
  const names = asked(path, (bytes, out) => library().giommu_sysfs_names(bytes, out));
  return names?.split("\0").filter((name) => name !== "") ?? [];
}

function asked(
  path: string,
  ask: (path: Uint8Array<ArrayBuffer>, out: Uint8Array<ArrayBuffer>) => number,
): string | undefined {
  for (let room = 4096;;) {
    const out = new Uint8Array(room);
    const length = ask(new TextEncoder().encode(path), out);
    if (length < 0 && errnoName(length) === "ENOENT") return undefined;
    must(length, { what: `Cannot read /sys/${path}`, call: "readlink or getdents" });
    if (length <= room) return new TextDecoder().decode(out.subarray(0, length));
    room = length;
  }
}
