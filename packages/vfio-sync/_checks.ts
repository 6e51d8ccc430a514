import { checkInteger, checkOptions, nameOf } from "@giommu/core";
import { AddressSpace } from "@giommu/memory-api";
import type { AttachStepsOptions, VfioContainerInit } from "./container_options.ts";
import type { HostErrno } from "./host_error.ts";
import type { HostIommu } from "./host_iommu.ts";
import type { HostFailure } from "./host_script.ts";

const ERRNOS: Readonly<Record<HostErrno, true>> = {
  EACCES: true,
  EAGAIN: true,
  EBADF: true,
  EBUSY: true,
  EEXIST: true,
  EFAULT: true,
  EINTR: true,
  EINVAL: true,
  EIO: true,
  ENODEV: true,
  ENOENT: true,
  ENOMEM: true,
  ENOSPC: true,
  ENXIO: true,
  ENOTTY: true,
  EOPNOTSUPP: true,
  EOVERFLOW: true,
  EPERM: true,
};

/** What can be said of a container: a misspelt name would be ignored, and a device not cut off. */
const CONTAINER_FIELDS: Readonly<Record<keyof VfioContainerInit, true>> = {
  host: true,
  coalesce: true,
  staticWindows: true,
  memory: true,
  headroom: true,
  allowDmaHoles: true,
  quiesce: true,
  cutOff: true,
};

const ATTACH_FIELDS: Readonly<Record<keyof AttachStepsOptions, true>> = { countMaps: true, plan: true };

/** Throws unless a container can be made of its options; the policy and the numbers of the host are left to others. */
export function checkContainerOptions(options: VfioContainerInit): void {
  checkOptions("the options of a container", options, CONTAINER_FIELDS);
  checkHost(options.host);
  if (options.headroom !== undefined) checkInteger("headroom", options.headroom);
  checkType("allowDmaHoles", options.allowDmaHoles, "boolean");
  checkType("quiesce", options.quiesce, "function");
  checkType("cutOff", options.cutOff, "function");
  if (options.memory !== undefined && !(options.memory instanceof AddressSpace)) {
    throw new TypeError(`Cannot use memory: expected an AddressSpace, got ${nameOf(options.memory)}`);
  }
  checkArray("staticWindows", options.staticWindows ?? []);
}

/** Throws unless there is a way to split, or none is given. */
export function checkSplit(split: string | undefined): void {
  if (split !== undefined && split !== "atomic" && split !== "none") {
    throw new RangeError(`Cannot use split: it is ${String(split)}, expected atomic or none`);
  }
}

/** Throws unless something is a failure that a host can be told to have. */
export function checkFailure(failure: HostFailure): HostFailure {
  checkObject("failAt", failure);
  const { call, errno = "ENOMEM" } = failure;
  if (typeof call !== "function") checkInteger("failAt.call", call, 0, Number.MAX_SAFE_INTEGER);
  if (!Object.hasOwn(ERRNOS, errno)) throw new RangeError(`Cannot use failAt.errno: there is no ${String(errno)}`);
  return failure;
}

/** Throws unless something is an array of objects. */
export function checkArray(name: string, value: readonly object[]): void {
  if (!Array.isArray(value)) throw new TypeError(`Cannot use ${name}: expected an array, got ${nameOf(value)}`);
  for (const one of value) checkObject(name, one);
}

/** Throws unless something is an object. */
export function checkObject(name: string, value: object): void {
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`Cannot use ${name}: expected an object, got ${nameOf(value)}`);
  }
}

function checkHost(host: HostIommu): void {
  checkObject("host", host);
  checkPresent("host.map", host.map, "function");
  checkPresent("host.unmap", host.unmap, "function");
  for (
    const name of ["mapAll", "mappings", "registerMemory", "unregisterMemory", "createWindow", "removeWindow"] as const
  ) {
    checkType(`host.${name}`, host[name], "function");
  }
  checkObject("host.info", host.info);
  if (host.info.windows !== undefined) {
    checkObject("host.info.windows", host.info.windows);
    checkPresent("host.createWindow", host.createWindow, "function");
    checkPresent("host.removeWindow", host.removeWindow, "function");
    checkInteger("host.info.windows.count", host.info.windows.count);
    checkInteger("host.info.windows.levels", host.info.windows.levels, 1);
  }
  if (host.dirty !== undefined) {
    checkObject("host.dirty", host.dirty);
    for (const name of ["start", "collect", "unmap", "stop"] as const) {
      checkPresent(`host.dirty.${name}`, host.dirty[name], "function");
    }
  }
  const { name, split, unmapWide, writeOnly, iovaRanges } = host.info;
  checkPresent("host.info.name", name, "string");
  checkPresent("host.info.split", split, "string");
  checkSplit(split);
  checkPresent("host.info.unmapWide", unmapWide, "boolean");
  checkPresent("host.info.writeOnly", writeOnly, "boolean");
  checkArray("host.info.iovaRanges", iovaRanges);
}

/** Throws unless something is an address space that was not disposed. */
export function checkSpace(space: AddressSpace): void {
  if (!(space instanceof AddressSpace)) {
    throw new TypeError(`Cannot attach a container: expected an AddressSpace, got ${nameOf(space)}`);
  }
  space.flatView();
}

/** Throws unless something is options of an attach. */
export function checkAttachOptions(options: AttachStepsOptions): void {
  checkOptions("the options of an attach", options, ATTACH_FIELDS);
  checkType("countMaps", options.countMaps, "boolean");
  checkType("plan", options.plan, "boolean");
}

/** Throws unless something is absent or has a type. */
export function checkType(name: string, value: unknown, type: "boolean" | "function" | "string"): void {
  if (value !== undefined && typeof value !== type) {
    throw new TypeError(`Cannot use ${name}: expected a ${type}, got ${nameOf(value)}`);
  }
}

function checkPresent(name: string, value: unknown, type: "boolean" | "function" | "string"): void {
  if (value === undefined) throw new TypeError(`Cannot use ${name}: expected a ${type}, got nothing`);
  checkType(name, value, type);
}
