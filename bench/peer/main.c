/*
 * Answers one command per line with one line: nanoseconds, the sum of what was delivered, and how many pages that was.
 *
 *     fill SHIFT PATTERN THRESHOLD     a table of 2^SHIFT entries; see pattern()
 *     replay FORM                      FORM: value, tuned
 *     put FORM ORDER COUNT MAP         ORDER: sequential, random; MAP: 1 maps, 0 clears
 *     indirect FORM COUNT MAP          in lists of 512
 *     stuff FORM COUNT MAP             clears in calls of 512; MAP 1 does it in one call for all
 *     translate ORDER COUNT
 *     create SHIFT                     makes a table, and touches every page of it
 */
#include "peer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const uint64_t LIOBN = 0x80000000;
static const uint64_t PAGE = 4096;

static Table table, other;
static Notifier notifier;
static uint64_t shift;

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* SplitMix64: the same numbers as in bench.rs. */
static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Entries in runs of LENGTH, each run there with a probability of THRESHOLD / 2^32; 0: one run of all. */
static uint64_t pattern(uint64_t index, uint64_t length, uint64_t threshold)
{
    if (length == 0) {
        return index * PAGE | 3;
    }
    uint64_t hash = mix(index / length);
    return (hash & 0xffffffff) < threshold ? ((hash >> 28) + index % length) * PAGE | 3 : 0;
}

/* Every index below 2^SHIFT once, in an order that no prefetcher knows: an odd factor makes a permutation. */
static uint64_t order(uint64_t at, int random)
{
    return (random ? at * 0x9e3779b1 : at) & (((uint64_t)1 << shift) - 1);
}

static Table make(uint32_t liobn, uint64_t *tces, uint32_t entries)
{
    Table made = { .liobn = liobn, .entries = entries, .page_shift = 12, .tces = tces };
    made.region.translate = table_translate;
    made.region.translate_into = table_translate_into;
    made.region.size = (uint64_t)entries * PAGE;
    return made;
}

static void fill(uint64_t to, uint64_t length, uint64_t threshold)
{
    if (to != shift || !table.tces) {
        free(table.tces);
        shift = to;
        table = make((uint32_t)LIOBN, malloc(((size_t)1 << shift) * 8), (uint32_t)1 << shift);
        other = make((uint32_t)LIOBN + 1, NULL, 0);
        table.region.table = &table;
        table.region.notifiers = &notifier;
        other.region.table = &other;
        table.next = &other;
        tables = &table;
    }
    for (uint64_t i = 0; i < (uint64_t)1 << shift; i++) {
        table.tces[i] = pattern(i, length, threshold);
    }
}

int main(void)
{
    char form[16], word[16];
    char line[128];
    notifier = (Notifier){ .notify = notifier_callback, .flags = 3, .last = ~(uint64_t)0 };
    while (fgets(line, sizeof(line), stdin)) {
        uint64_t a = 0, b = 0, c = 0;
        uint64_t started = 0, ended = 0;
        notifier.sum = notifier.pages = 0;
        if (sscanf(line, "fill %" SCNu64 " %" SCNu64 " %" SCNu64, &a, &b, &c) == 3) {
            fill(a, b, c);
        } else if (sscanf(line, "replay %15s", form) == 1) {
            started = now();
            (form[0] == 'v' ? replay : replay_tuned)(&table.region, &notifier, PAGE);
            ended = now();
        } else if (sscanf(line, "put %15s %15s %" SCNu64 " %" SCNu64, form, word, &a, &b) == 4) {
            long (*put)(uint64_t, uint64_t, uint64_t) = form[0] == 'v' ? h_put_tce : h_put_tce_tuned;
            int random = word[0] == 'r';
            long failed = 0;
            started = now();
            for (uint64_t i = 0; i < a; i++) {
                uint64_t index = order(i, random);
                failed |= put(LIOBN, index * PAGE, b ? 2 * index * PAGE | 3 : 0);
            }
            ended = now();
            if (failed) {
                return 1;
            }
        } else if (sscanf(line, "indirect %15s %" SCNu64 " %" SCNu64, form, &a, &b) == 3) {
            static uint64_t list[512];
            for (uint64_t i = 0; i < 512; i++) {
                list[i] = b ? __builtin_bswap64(2 * i * PAGE | 3) : 0;
            }
            long (*call)(uint64_t, uint64_t, const uint8_t *, uint64_t) =
                form[0] == 'v' ? h_put_tce_indirect : h_put_tce_indirect_tuned;
            started = now();
            for (uint64_t i = 0; i < a; i += 512) {
                call(LIOBN, i * PAGE, (const uint8_t *)list, 512);
            }
            ended = now();
        } else if (sscanf(line, "stuff %15s %" SCNu64 " %" SCNu64, form, &a, &b) == 3) {
            long (*call)(uint64_t, uint64_t, uint64_t, uint64_t) = form[0] == 'v' ? h_stuff_tce : h_stuff_tce_tuned;
            uint64_t step = b ? a : 512;
            started = now();
            for (uint64_t i = 0; i < a; i += step) {
                call(LIOBN, i * PAGE, 0, step);
            }
            ended = now();
        } else if (sscanf(line, "translate %15s %" SCNu64, word, &a) == 2) {
            int random = word[0] == 'r';
            Region *region = &table.region;
            started = now();
            for (uint64_t i = 0; i < a; i++) {
                uint64_t iova = order(i, random) * PAGE;
                Entry entry = region->translate(region, iova, 0, 0);
                notifier.sum += entry.target + (uint64_t)entry.perm;
            }
            ended = now();
            notifier.pages = a;
        } else if (sscanf(line, "create %" SCNu64, &a) == 1) {
            size_t size = ((size_t)1 << a) * 8;
            started = now();
            uint64_t *made = calloc(1, size);
            for (size_t at = 0; at < size / 8; at += 512) {
                ((volatile uint64_t *)made)[at] = 0;
            }
            ended = now();
            free(made);
        } else {
            return 1;
        }
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", ended - started, notifier.sum, notifier.pages);
        fflush(stdout);
    }
    return 0;
}
