import type { IommuNotifierFlag } from "./flag.ts";
import type { IommuNotifier } from "./notifier.ts";

/**
 * Who is registered with an IOMMU, to be looked at: `region.notifiers`.
 *
 * To join, `registerNotifier` of `@giommu/memory-api`; to tell them something, `change` or `notify` of the region.
 */
export interface RegisteredNotifiers extends Iterable<IommuNotifier> {
  /** The union of all notifiers' flags. An IOMMU without listeners for MAP need not prepare MAP events. */
  readonly flags: IommuNotifierFlag;
  /** How many notifiers are registered. */
  readonly size: number;
  /** Whether a change is being told right now. */
  readonly changing: boolean;
  /** Whether a notifier is registered here. */
  has(notifier: IommuNotifier): boolean;
}
