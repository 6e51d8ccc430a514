import type { MemorySection } from "./memory_section.ts";

/**
 * Somebody who follows what an address space shows.
 *
 * In each transaction that changes what the space shows it gets `begin`, all deletions, all additions, `commit`. A
 * section that only shrinks or grows is told of as the difference: the pieces told add up to what is seen, but a
 * deletion may cover a part of an earlier addition, or several of them.
 *
 * Additions are told to listeners in the order in which they joined, deletions in the reverse order (as in QEMU). While a
 * deletion is told, address spaces still show the old map; while an addition is told, all of them show the new one.
 */
export interface MemoryListener {
  /** A transaction begins. */
  begin?(): void;
  /**
   * A section appears. To throw refuses the whole transaction; the throwing call must have left nothing behind.
   *
   * Everything told is then told back in reverse, the map is as before, and the error passes on to whoever changed it.
   */
  regionAdd?(section: MemorySection): void;
  /**
   * A section disappears; this cannot be refused. What is thrown is passed on to whoever changed the map, once everything is told.
   */
  regionDel?(section: MemorySection): void;
  /** The transaction is complete. To throw refuses it. Also called at the end of one that was undone. */
  commit?(): void;
}
