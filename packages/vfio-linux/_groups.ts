import { IommuError } from "@giommu/core";
import { must } from "./_errno.ts";
import { library } from "./_library.ts";
import { blockersOf } from "./_pci.ts";

/** VFIO_GROUP_FLAGS_VIABLE (linux/vfio.h). */
const VIABLE = 1;

/** A group in a container. */
export interface Group {
  /** The library's number. */
  readonly handle: number;
  /** How many devices of it are open; one more if the caller asked for the group itself. */
  users: number;
}

/** The IOMMU groups in a container. */
export class Groups {
  readonly #container: number;
  readonly #all = new Map<number, Group>();

  /** `container`: the library's number. */
  constructor(container: number) {
    this.#container = container;
  }

  /**
   * Takes a group in, if it is not yet.
   *
   * @param number The group.
   * @param accept Throws if it must not stay; not asked of the first one.
   */
  join(number: number, accept: () => void): Group {
    const there = this.#all.get(number);
    if (there !== undefined) return there;
    const group: Group = { handle: openGroup(number), users: 0 };
    try {
      must(library().giommu_group_set_container(group.handle, this.#container), {
        what: `Cannot use IOMMU group ${number}`,
        call: "VFIO_GROUP_SET_CONTAINER",
        remedies: {
          EBUSY: "end the program that has the group in another container",
          EPERM: "let the machine remap interrupts (x2APIC, intremap), or set vfio_iommu_type1.allow_unsafe_interrupts",
          EINVAL: "use a host of its own for this device: its IOMMU cannot hold what is mapped here",
        },
      });
      if (this.#all.size > 0) accept();
    } catch (error) {
      leave(group);
      throw error;
    }
    this.#all.set(number, group);
    return group;
  }

  /** Gives groups back of which nothing is open; the last one stays, as all mappings go with it. */
  leaveUnused(): void {
    for (const [number, group] of this.#all) {
      if (group.users > 0 || this.#all.size === 1) continue;
      this.#all.delete(number);
      leave(group);
    }
  }

  /** Gives all of them back. */
  leaveAll(): void {
    for (const group of this.#all.values()) leave(group);
    this.#all.clear();
  }
}

/** Opens a group of which every device is VFIO's. */
function openGroup(number: number): number {
  const host = library();
  const path = `/dev/vfio/${number}`;
  const what = `Cannot use IOMMU group ${number}`;
  const handle = must(host.giommu_group_open(new TextEncoder().encode(path)), {
    what,
    call: `open of ${path}`,
    remedies: {
      ENOENT: "bind its devices to vfio-pci",
      EACCES: `let this user read and write ${path}`,
      EPERM: `let this user read and write ${path}`,
      EBUSY: "dispose of mapped regions of its devices, and end the program that has it, or a device of it, open",
    },
  });
  const status = host.giommu_group_status(handle);
  if (status >= 0 && (status & VIABLE) !== 0) return handle;
  host.giommu_close(handle);
  must(status, { what, call: "VFIO_GROUP_GET_STATUS" });
  throw new IommuError("backend-unavailable", `${what}: it is not viable: ${blockersOf(number).join(", ")}`, {
    remedy: "bind all devices of the group to vfio-pci, or to no driver",
  });
}

/** Takes a group out of its container, and closes it. */
function leave({ handle }: Group): void {
  library().giommu_group_unset_container(handle);
  library().giommu_close(handle);
}
