/** Whichever call on the real kernel fails: guest and host are in step afterwards, or the container says where they are not. */

import type { AddressRange } from "@giommu/core";
import { IommuError } from "@giommu/core";
import type { HostErrno, HostIommu, HostIommuInfo, HostMapping } from "@giommu/vfio-sync";
import { HostError, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { Guest, PAGE, READ, WRITE } from "./guest.ts";
import { KernelLog, pagesAfter } from "./kernel_log.ts";
import type { RealHost } from "./vm.ts";
import { hostTest } from "./vm.ts";

/** A real host of which one call fails, without having been made. */
class FaultyHost implements HostIommu {
  readonly info: HostIommuInfo;
  readonly #host: RealHost;
  #until: number;
  readonly #errno: HostErrno;
  /** Whether it failed. */
  failed = false;

  constructor(host: RealHost, until: number, errno: HostErrno) {
    this.info = host.info;
    this.#host = host;
    this.#until = until;
    this.#errno = errno;
  }

  map(mapping: HostMapping): void {
    this.#count("MAP", mapping.iova);
    this.#host.map(mapping);
  }

  unmap(range: AddressRange): bigint {
    this.#count("UNMAP", range);
    return this.#host.unmap(range);
  }

  #count(call: "MAP" | "UNMAP", range: AddressRange): void {
    if (this.#until-- !== 0) return;
    this.failed = true;
    throw new HostError(this.#errno, call, range, this.info.name);
  }
}

/** What a guest does, one call at a time; each changes the table or is refused. */
const STEPS: readonly ((guest: Guest) => number)[] = [
  // A change in place, of the page and of the permission.
  ({ table }) => table.putTce(0x1_0000n, 0x50_0000n | READ | WRITE).ret,
  ({ table }) => table.putTce(0x1_1000n, 0x20_1000n | READ).ret,
  // Many at once, over some that are there.
  ({ table }) => table.stuffTce(0x1_2000n, 0x60_0000n | READ | WRITE, 6n).ret,
  // Parts of what one call mapped.
  ({ table }) => table.stuffTce(0x1_3000n, 0n, 2n).ret,
  ({ table }) => table.putTce(0x3_0000n, 0x70_0000n | WRITE).ret,
  ({ table }) => table.stuffTce(0x1_0000n, 0n, 16n).ret,
];

for (const errno of ["ENOMEM", "EBUSY", "ENOSPC", "EEXIST"] as const) {
  hostTest(
    `the k-th call fails with ${errno}, for every k: both sides are in step, and nothing is left`,
    ({ open }) => {
      using guest = new Guest();
      using host = open();
      using log = new KernelLog();
      let isOver = false;
      for (let k = 0; !isOver; k++) {
        guest.table.reset();
        for (let index = 0n; index < 4n; index++) guest.map(0x1_0000n + index * PAGE, 0x20_0000n + index * PAGE);
        guest.map(0x2_0000n, 0x30_0000n, READ);
        const faulty = new FaultyHost(host, k, errno);
        const container = new VfioContainer({ host: faulty });
        let held = run(guest, container, log);
        isOver = !faulty.failed;
        try {
          container.dispose();
        } catch (error) {
          // The call that failed was the detach's own: the ranges are still there, and are named.
          assert(error instanceof IommuError && error.code === "unmap-failed", String(error));
          held = pagesAfter(log.take(), held);
          assertEquals(pagesOf(error.ranges), held);
          for (const { start, last } of error.ranges) host.unmap({ start, last });
        }
        assertEquals(pagesAfter(log.take(), held), [], `left after call ${k}`);
        isOver = !faulty.failed;
      }
    },
  );
}

/** Attaches and makes every step; returns which pages the kernel holds then. */
function run(guest: Guest, container: VfioContainer, log: KernelLog): bigint[] {
  log.take();
  const before = entries(guest);
  try {
    container.attach(guest.phb.space);
  } catch (error) {
    assert(error instanceof IommuError);
    const held = pagesAfter(log.take());
    assertEquals(held, container.failed === undefined ? [] : pagesOf(container.failed.ranges));
    assertEquals(entries(guest), before, "a refused attach changed the table");
    return held;
  }
  let held = pagesAfter(log.take());
  for (const step of STEPS) {
    const then = entries(guest);
    const ret = step(guest);
    held = pagesAfter(log.take(), held);
    const now = entries(guest);
    if (container.failed === undefined) {
      assertEquals(held, now, "the kernel does not hold what the table says");
      // Refused: all is as it was before the call.
      if (ret !== 0) assertEquals(now, then);
    } else {
      const differing = new Set(pagesOf(container.failed.ranges));
      for (const page of new Set([...held, ...now])) {
        if (held.includes(page) !== now.includes(page)) {
          assert(differing.has(page), `page ${page} differs and is not named`);
        }
      }
      return held;
    }
  }
  return held;
}

/** The pages that the guest has mapped in the part of its table that the steps are about. */
function entries(guest: Guest): bigint[] {
  const pages: bigint[] = [];
  for (let page = 0x10n; page <= 0x30n; page++) {
    if ((guest.table.translate(page << 12n)?.perm ?? 0) !== 0) pages.push(page);
  }
  return pages;
}

function pagesOf(ranges: readonly AddressRange[]): bigint[] {
  return ranges.flatMap(({ start, last }) => {
    const pages: bigint[] = [];
    for (let page = start >> 12n; page <= last >> 12n; page++) pages.push(page);
    return pages;
  });
}
