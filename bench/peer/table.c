/* A TCE table and its hypercalls. */
#include "peer.h"

#include <string.h>

Table *tables;

static Table *find_table(uint64_t liobn)
{
    if (liobn >> 32) {
        return NULL;
    }
    for (Table *table = tables; table; table = table->next) {
        if (table->liobn == (uint32_t)liobn) {
            return table;
        }
    }
    return NULL;
}

Entry table_translate(Region *region, uint64_t iova, int access, int index)
{
    Table *table = region->table;
    (void)access;
    (void)index;
    Entry entry = { .space = NULL, .iova = 0, .target = 0, .mask = ~(uint64_t)0, .perm = 0 };
    if (iova >> table->page_shift < table->entries) {
        uint64_t page = ~(uint64_t)0 << table->page_shift;
        uint64_t tce = table->tces[iova >> table->page_shift];
        entry.iova = iova & page;
        entry.target = tce & page;
        entry.mask = ~page;
        entry.perm = (int)(tce & 3);
    }
    return entry;
}

void table_translate_into(Region *region, uint64_t iova, int access, int index, Entry *entry)
{
    *entry = table_translate(region, iova, access, index);
}

static void notify_one(Notifier *notifier, Event *event)
{
    Entry *entry = &event->entry;
    uint64_t last = entry->iova + entry->mask;
    if (notifier->start > last || notifier->last < entry->iova) {
        return;
    }
    if (event->type & notifier->flags) {
        notifier->notify(notifier, entry);
    }
}

/* By value, and not inlined, as it is a function of another source file in QEMU. */
static __attribute__((noinline)) void notify_all(Region *region, int index, Event event)
{
    for (Notifier *notifier = region->notifiers; notifier; notifier = notifier->next) {
        if (notifier->index == index) {
            notify_one(notifier, &event);
        }
    }
}

static __attribute__((noinline)) void notify_all_tuned(Region *region, int index, Event *event)
{
    for (Notifier *notifier = region->notifiers; notifier; notifier = notifier->next) {
        if (notifier->index == index && event->type & notifier->flags && notifier->start <= event->entry.iova + event->entry.mask
            && notifier->last >= event->entry.iova) {
            notifier->notify(notifier, &event->entry);
        }
    }
}

static long put(Table *table, uint64_t ioba, uint64_t tce)
{
    uint64_t page = ~(uint64_t)0 << table->page_shift;
    uint64_t at = (ioba - table->bus_offset) >> table->page_shift;
    if (at >= table->entries) {
        return -4;
    }
    table->tces[at] = tce;
    Event event;
    event.entry.space = NULL;
    event.entry.iova = (ioba - table->bus_offset) & page;
    event.entry.target = tce & page;
    event.entry.mask = ~page;
    event.entry.perm = (int)(tce & 3);
    event.type = event.entry.perm ? EVENT_MAP : EVENT_UNMAP;
    notify_all(&table->region, 0, event);
    return 0;
}

static inline long put_tuned(Table *table, uint64_t ioba, uint64_t tce)
{
    uint64_t page = ~(uint64_t)0 << table->page_shift;
    uint64_t at = (ioba - table->bus_offset) >> table->page_shift;
    if (at >= table->entries) {
        return -4;
    }
    table->tces[at] = tce;
    Event event;
    event.entry.space = NULL;
    event.entry.iova = (ioba - table->bus_offset) & page;
    event.entry.target = tce & page;
    event.entry.mask = ~page;
    event.entry.perm = (int)(tce & 3);
    event.type = event.entry.perm ? EVENT_MAP : EVENT_UNMAP;
    notify_all_tuned(&table->region, 0, &event);
    return 0;
}

static uint64_t load_big_endian(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return __builtin_bswap64(value);
}

#define HCALLS(suffix)                                                                                            \
    long h_put_tce##suffix(uint64_t liobn, uint64_t ioba, uint64_t tce)                                            \
    {                                                                                                              \
        Table *table = find_table(liobn);                                                                          \
        return table ? put##suffix(table, ioba & ~(uint64_t)0 << table->page_shift, tce) : -4;                     \
    }                                                                                                              \
                                                                                                                   \
    long h_put_tce_indirect##suffix(uint64_t liobn, uint64_t ioba, const uint8_t *list, uint64_t npages)           \
    {                                                                                                              \
        Table *table = find_table(liobn);                                                                          \
        long ret = -4;                                                                                             \
        if (!table || npages > 512) {                                                                              \
            return ret;                                                                                            \
        }                                                                                                          \
        ioba &= ~(uint64_t)0 << table->page_shift;                                                                 \
        for (uint64_t i = 0; i < npages; i++, ioba += (uint64_t)1 << table->page_shift) {                          \
            ret = put##suffix(table, ioba, load_big_endian(list + 8 * i));                                         \
            if (ret) {                                                                                             \
                break;                                                                                             \
            }                                                                                                      \
        }                                                                                                          \
        return ret;                                                                                                \
    }                                                                                                              \
                                                                                                                   \
    long h_stuff_tce##suffix(uint64_t liobn, uint64_t ioba, uint64_t tce, uint64_t npages)                         \
    {                                                                                                              \
        Table *table = find_table(liobn);                                                                          \
        long ret = -4;                                                                                             \
        if (!table || npages > table->entries) {                                                                   \
            return ret;                                                                                            \
        }                                                                                                          \
        ioba &= ~(uint64_t)0 << table->page_shift;                                                                 \
        for (uint64_t i = 0; i < npages; i++, ioba += (uint64_t)1 << table->page_shift) {                          \
            ret = put##suffix(table, ioba, tce);                                                                   \
            if (ret) {                                                                                             \
                break;                                                                                             \
            }                                                                                                      \
        }                                                                                                          \
        return ret;                                                                                                \
    }

HCALLS()
HCALLS(_tuned)
