/* Replay page by page: translate, and tell the notifier of what is mapped. */
#include "peer.h"

void replay(Region *region, Notifier *notifier, uint64_t granularity)
{
    for (uint64_t iova = 0; iova < region->size; iova += granularity) {
        Entry entry = region->translate(region, iova, 0, notifier->index);
        if (entry.perm) {
            notifier->notify(notifier, &entry);
        }
        if (iova + granularity < iova) {
            break;
        }
    }
}

void replay_tuned(Region *region, Notifier *notifier, uint64_t granularity)
{
    Entry entry;
    for (uint64_t iova = 0; iova < region->size; iova += granularity) {
        region->translate_into(region, iova, 0, notifier->index, &entry);
        if (entry.perm) {
            notifier->notify(notifier, &entry);
        }
        if (iova + granularity < iova) {
            break;
        }
    }
}
