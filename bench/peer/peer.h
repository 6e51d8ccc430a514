/*
 * An IOMMU in the shape that QEMU gives it, for benchmarks: nothing here is QEMU's code.
 *
 * The shape: a function pointer per region that translates one page, a dense table of 64-bit entries, entries and events
 * as structs, a linked list of notifiers, a linked list of tables that is searched for a LIOBN. The notifier's callback
 * is in another source file, as it is in QEMU, so that no compiler can see through it.
 */
#ifndef GIOMMU_PEER_H
#define GIOMMU_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Entry {
    void *space;
    uint64_t iova;
    uint64_t target;
    uint64_t mask;
    int perm;
} Entry;

typedef enum EventType { EVENT_MAP = 2, EVENT_UNMAP = 1 } EventType;

typedef struct Event {
    EventType type;
    Entry entry;
} Event;

typedef struct Notifier Notifier;
struct Notifier {
    void (*notify)(Notifier *notifier, Entry *entry);
    int flags;
    uint64_t start, last;
    int index;
    Notifier *next;
    /* What was delivered: a sum that runs of pages can add in one step, and how many pages. */
    uint64_t sum, pages;
};

typedef struct Table Table;
typedef struct Region Region;
struct Region {
    Entry (*translate)(Region *region, uint64_t iova, int access, int index);
    void (*translate_into)(Region *region, uint64_t iova, int access, int index, Entry *entry);
    Notifier *notifiers;
    Table *table;
    uint64_t size;
};

struct Table {
    Region region;
    uint32_t liobn;
    uint32_t entries;
    uint32_t page_shift;
    uint64_t bus_offset;
    uint64_t *tces;
    Table *next;
};

/* notifier.c */
void notifier_callback(Notifier *notifier, Entry *entry);

/* table.c: the same calls by value, as QEMU passes what it passes, and tuned, with pointers. */
extern Table *tables;
Entry table_translate(Region *region, uint64_t iova, int access, int index);
void table_translate_into(Region *region, uint64_t iova, int access, int index, Entry *entry);
long h_put_tce(uint64_t liobn, uint64_t ioba, uint64_t tce);
long h_put_tce_indirect(uint64_t liobn, uint64_t ioba, const uint8_t *list, uint64_t npages);
long h_stuff_tce(uint64_t liobn, uint64_t ioba, uint64_t tce, uint64_t npages);
long h_put_tce_tuned(uint64_t liobn, uint64_t ioba, uint64_t tce);
long h_put_tce_indirect_tuned(uint64_t liobn, uint64_t ioba, const uint8_t *list, uint64_t npages);
long h_stuff_tce_tuned(uint64_t liobn, uint64_t ioba, uint64_t tce, uint64_t npages);

/* replay.c */
void replay(Region *region, Notifier *notifier, uint64_t granularity);
void replay_tuned(Region *region, Notifier *notifier, uint64_t granularity);

#endif
