import type { IommuNotifier } from "@giommu/notifiers";
import { IommuNotifier as Notifier, IommuNotifierFlag } from "@giommu/notifiers";
import { assertThrows } from "@std/assert";
import {
  AddressSpace,
  ArrayGuestMemory,
  IommuMemoryRegion,
  readDma,
  registerNotifier,
  replay,
  unregisterNotifier,
  writeDma,
} from "./mod.ts";

/** What a caller without types may pass. */
// deno-lint-ignore no-explicit-any
const untyped = (value: unknown): any => value;

Deno.test("what has the wrong type is refused in words that say what was expected", () => {
  const region = new IommuMemoryRegion({ name: "iommu", size: 0x1000n, translate: () => undefined });
  const plain: IommuNotifier = untyped({ flags: 3, notify: () => {} });
  const notifier = new Notifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
  using space = new AddressSpace({ name: "space", root: region });
  const cases: [() => unknown, string][] = [
    [() => registerNotifier(untyped({ region }), notifier), "expected an IommuMemoryRegion, got an object"],
    [() => registerNotifier(region, plain), "expected an IommuNotifier, got an object"],
    [() => registerNotifier(region, plain, { replay: true }), "expected an IommuNotifier, got an object"],
    [() => unregisterNotifier(untyped(space), notifier), "expected an IommuMemoryRegion, got an AddressSpace"],
    [() => replay(untyped(space), notifier), "expected an IommuMemoryRegion, got an AddressSpace"],
    [() => replay(region, plain), "expected an IommuNotifier, got an object"],
    [() => new ArrayGuestMemory(untyped(0x1000n)), "expected a number of bytes or a Uint8Array, got a bigint"],
    [() => readDma(untyped(region), 0n, new Uint8Array(1)), "expected an AddressSpace, got an IommuMemoryRegion"],
    [() => writeDma(space, 0n, untyped([1])), "expected a Uint8Array, got an Array"],
    [() => new AddressSpace(untyped("space")), "expected an object, got a string"],
    [() => new AddressSpace(untyped({ name: "space", root: space })), "expected a MemoryRegion, got an AddressSpace"],
    [() => new AddressSpace(untyped({ name: "space", root: region, memry: space })), "there is no memry"],
  ];
  for (const [misuse, words] of cases) assertThrows(misuse, TypeError, words);
});
