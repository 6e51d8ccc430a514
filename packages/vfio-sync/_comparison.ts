import type { AddressRange } from "@giommu/core";
import { IommuPerm } from "@giommu/notifiers";
import type { GuestExtent } from "./_guest_extents.ts";
import { PageCounter } from "./_page_counter.ts";
import type { HostMapping } from "./host_iommu.ts";
import type { Difference, VerifiedMapping } from "./verify.ts";

/** How many ranges of each kind are listed. */
const LISTED = 10;

/** A sweep over two ascending lists of ranges, in which each address is looked at once. */
export class Comparison {
  readonly guestPages = new PageCounter();
  readonly hostPages = new PageCounter();
  readonly missing = new PageCounter();
  readonly stale = new PageCounter();
  readonly differing = new PageCounter();
  readonly ranges: Difference[] = [];
  readonly #listed = { missing: 0, stale: 0, differing: 0 };
  readonly #writeOnly: boolean;
  readonly #page: bigint;
  readonly #near: (iova: bigint) => GuestExtent | undefined;

  /** `page`: the host's smallest; `near`: an extent whose pages count where the guest has nothing. */
  constructor(writeOnly: boolean, page: bigint, near: (iova: bigint) => GuestExtent | undefined) {
    this.#writeOnly = writeOnly;
    this.#page = page;
    this.#near = near;
  }

  /** Compares. */
  run(guest: Iterable<GuestExtent>, host: Iterable<HostMapping>): void {
    const guests = guest[Symbol.iterator]();
    const hosts = host[Symbol.iterator]();
    let g: GuestExtent | undefined = guests.next().value;
    let h: HostMapping | undefined = hosts.next().value;
    for (let at = 0n; g !== undefined || h !== undefined;) {
      const gStart = g === undefined ? undefined : max(g.iova.start, at);
      const hStart = h === undefined ? undefined : max(h.iova.start, at);
      const start: bigint = gStart === undefined ? hStart ?? at : hStart === undefined ? gStart : min(gStart, hStart);
      const inGuest: GuestExtent | undefined = gStart === start ? g : undefined;
      const inHost: HostMapping | undefined = hStart === start ? h : undefined;
      let last = inGuest !== undefined && inHost !== undefined
        ? min(inGuest.iova.last, inHost.iova.last)
        : inGuest !== undefined
        ? inGuest.iova.last
        : (inHost as HostMapping).iova.last;
      if (inGuest === undefined && gStart !== undefined) last = min(last, gStart - 1n);
      if (inHost === undefined && hStart !== undefined) last = min(last, hStart - 1n);
      this.#segment({ start, last }, inGuest, inHost);
      at = last + 1n;
      if (g !== undefined && g.iova.last < at) g = guests.next().value;
      if (h !== undefined && h.iova.last < at) h = hosts.next().value;
    }
  }

  #segment(iova: AddressRange, guest: GuestExtent | undefined, host: HostMapping | undefined): void {
    const { page, delta } = guest ?? this.#counted(iova.start);
    if (guest !== undefined) this.guestPages.add(iova, page, delta);
    if (host !== undefined) this.hostPages.add(iova, page, delta);
    const expected = guest && { gpa: guest.gpa + (iova.start - guest.iova.start), perm: this.#given(guest.perm) };
    const found = host && { gpa: host.gpa + (iova.start - host.iova.start), perm: host.perm };
    const kind = found === undefined ? "missing" : expected === undefined ? "stale" : "differing";
    if (expected?.gpa === found?.gpa && expected?.perm === found?.perm) return;
    this[kind].add(iova, page, delta);
    this.#list(kind, iova, expected, found);
  }

  #list(
    kind: Difference["kind"],
    iova: AddressRange,
    guest: VerifiedMapping | undefined,
    host: VerifiedMapping | undefined,
  ): void {
    if (this.#listed[kind]++ >= LISTED) return;
    this.ranges.push({ kind, iova, ...(guest !== undefined && { guest }), ...(host !== undefined && { host }) });
  }

  #given(perm: IommuPerm): IommuPerm {
    return perm === IommuPerm.WRITE && !this.#writeOnly ? IommuPerm.READ_WRITE : perm;
  }

  /** In which pages what only the host holds is counted: those of the guest's mapping nearby. */
  #counted(iova: bigint): { readonly page: bigint; readonly delta: bigint } {
    return this.#near(iova) ?? { page: this.#page, delta: 0n };
  }
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
