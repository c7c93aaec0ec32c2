/* Bits that turn over in what was synced, and what must be said of it: damage of a record that is
 * known to have been synced is reported with the messages it held, its bytes are kept aside, and
 * nothing else is lost. */
#include "spool.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOG_DIRECTORY SIM_SPOOL_DIRECTORY "/log"
#define RECORDS_MAX 256u

struct found {
    struct sim_name *name;
    uint64_t offset;
    uint32_t salt;
    struct weir_record_header header;
};

struct search {
    struct found at[RECORDS_MAX];
    uint32_t count;
    uint64_t marks[2 * RECORDS_MAX];         /* of segments and records */
    const struct found *of[2 * RECORDS_MAX]; /* who bears it; NULL: a segment */
    uint32_t mark_count;
};

bool sim_is_segment(const char *path)
{
    const size_t bytes = strlen(LOG_DIRECTORY);
    return strncmp(path, LOG_DIRECTORY "/", bytes + 1) == 0 && path[bytes + 1] >= '0' &&
           path[bytes + 1] <= '9' && strcmp(path + strlen(path) - 4, ".seg") == 0;
}

static void mark_add(struct search *search, uint64_t mark, const struct found *of)
{
    if (search->mark_count == 2 * RECORDS_MAX)
        return;
    search->of[search->mark_count] = of;
    search->marks[search->mark_count++] = mark;
}

static bool is_whole_segment(const struct sim_name *name, struct weir_segment_header *segment)
{
    return name->disk && name->disk == name->cache && sim_is_segment(name->path) &&
           name->disk->held >= WEIR_SEGMENT_HEADER_BYTES &&
           weir_segment_header_decode(name->disk->disk, segment, &(struct weir_error){0}) == 0;
}

/* The last message of a segment, as the next one has it. What a start has written anew into that
 * one is still there in this one, and nobody looks at it. */
static uint64_t last_of(const struct sim_filesystem *files, uint64_t first)
{
    uint64_t next = UINT64_MAX, last = UINT64_MAX;
    struct weir_segment_header segment;
    for (uint32_t i = 0; i < files->name_count; i++) {
        if (is_whole_segment(files->names[i], &segment) && segment.first > first &&
            segment.first < next) {
            next = segment.first;
            last = segment.certified;
        }
    }
    return last;
}

/* A sync that failed may have written its first sectors only. */
static bool is_whole(const struct sim_inode *inode, uint64_t at,
                     const struct weir_record_header *header)
{
    const uint64_t bytes = weir_record_content_bytes(header);
    if (at + bytes > inode->held)
        return false;
    const uint32_t crc = weir_record_header_crc(inode->disk + at, header->seed);
    return header->crc == weir_crc32c(crc, inode->disk + at + WEIR_RECORD_HEADER_BYTES,
                                      bytes - WEIR_RECORD_HEADER_BYTES);
}

/* As a power cut would leave it. */
static void search_segment(struct search *search, const struct sim_filesystem *files,
                           struct sim_name *name)
{
    const struct sim_inode *inode = name->disk;
    struct weir_segment_header segment;
    struct weir_record_header header;
    if (!is_whole_segment(name, &segment))
        return;
    const uint64_t last = last_of(files, segment.first);
    mark_add(search, segment.certified, NULL);
    for (uint64_t at = WEIR_SEGMENT_HEADER_BYTES;
         at + WEIR_RECORD_HEADER_BYTES <= inode->held && search->count < RECORDS_MAX &&
         weir_record_header_decode(inode->disk + at, segment.salt, &header) &&
         weir_record_last(&header) <= last;
         at += weir_record_bytes(&header)) {
        if (!is_whole(inode, at, &header))
            continue;
        struct found *found = &search->at[search->count++];
        *found = (struct found){.name = name, .offset = at, .salt = segment.salt, .header = header};
        mark_add(search, header.certified, found);
    }
}

/* Whether something that is whole says that all up to `last` was synced, if `without` is not. */
static bool is_certified(const struct search *search, uint64_t last, const struct found *without)
{
    for (uint32_t i = 0; i < search->mark_count; i++)
        if (search->of[i] != without && search->marks[i] >= last)
            return true;
    return false;
}

/* May it be damaged, so that this and all that was damaged before must be found? */
static bool may_be(const struct sim_spool *spool, const struct search *search,
                   const struct found *found)
{
    bool may = is_certified(search, weir_record_last(&found->header), found);
    for (uint32_t i = 0; i < spool->damage_count; i++)
        may = may && is_certified(search, spool->damages[i].last, found);
    return may;
}

/* A batch that its producer has not been told of comes again, and is another one then. */
static bool is_confirmed(const struct sim *sim, uint32_t stream, const struct found *found)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct sim_message *message = &sim->messages[i];
        count += message->confirmed && message->stream == stream &&
                 message->sequence >= found->header.first &&
                 message->sequence <= weir_record_last(&found->header);
    }
    return found->header.count > 0 && count == found->header.count;
}

static void damage(struct sim_process *process, const struct found *found)
{
    struct sim *sim = process->sim;
    struct sim_spool *spool = process->spool;
    struct weir_random *random = &spool->files.random;
    const uint64_t last = weir_record_last(&found->header);
    const uint64_t at =
        found->offset + weir_random_below(random, weir_record_content_bytes(&found->header));
    if (!sim_inode_flip(found->name->cache, at, (uint8_t)weir_random_below(random, 8)))
        return;
    struct sim_damage *one = &spool->damages[spool->damage_count++];
    *one = (struct sim_damage){
        .offset = found->offset, .salt = found->salt, .first = found->header.first, .last = last};
    snprintf(one->path, sizeof one->path, "%s", found->name->path);
    for (uint32_t i = 0; i < sim->message_count; i++) {
        struct sim_message *message = &sim->messages[i];
        if (message->confirmed && message->stream == process->index &&
            message->sequence >= one->first && message->sequence <= last)
            message->damaged = true;
    }
    sim_count(sim, SIM_COUNT_DAMAGES);
    sim_log(sim, process->name, "%s is damaged at %" PRIu64 ", messages %" PRIu64 " to %" PRIu64,
            one->path, at, one->first, last);
}

void sim_damage_some(struct sim_process *process)
{
    struct sim_spool *spool = process->spool;
    struct weir_random *random = &process->sim->random;
    if (!process->sim->params.damage || spool->damage_count == SIM_DAMAGES_MAX ||
        weir_random_below(random, 2) == 0)
        return;
    struct search *search = weir_zalloc(1, sizeof *search);
    for (uint32_t i = 0; i < spool->files.name_count; i++)
        search_segment(search, &spool->files, spool->files.names[i]);
    if (search->count > 0) {
        const struct found *found = &search->at[weir_random_below(random, search->count)];
        if (may_be(spool, search, found) && is_confirmed(process->sim, process->index, found))
            damage(process, found);
    }
    free(search);
}

/* Is that record still there, as it was damaged? */
static bool is_there(const struct sim_spool *spool, const struct sim_damage *one)
{
    struct weir_segment_header segment;
    for (uint32_t i = 0; i < spool->files.name_count; i++) {
        const struct sim_name *name = spool->files.names[i];
        if (name->cache && strcmp(name->path, one->path) == 0)
            return name->cache->held > one->offset &&
                   weir_segment_header_decode(name->cache->cache, &segment,
                                              &(struct weir_error){0}) == 0 &&
                   segment.salt == one->salt;
    }
    return false;
}

static bool is_reported(const char *report, const struct sim_damage *one)
{
    static const char before[] = "messages ";
    for (const char *at = strstr(report, before); at; at = strstr(at + 1, before)) {
        uint64_t first, last;
        if (sscanf(at + strlen(before), "%" SCNu64 " to %" SCNu64, &first, &last) == 2 &&
            first <= one->first && one->last <= last)
            return true;
    }
    return false;
}

/* Alone, or with what is damaged before it. */
static bool is_kept_aside(const struct sim_spool *spool, const struct sim_damage *one)
{
    const char *segment = strrchr(one->path, '/') + 1;
    char path[96];
    snprintf(path, sizeof path, "%s/damaged/%.20s-", SIM_SPOOL_DIRECTORY, segment);
    for (uint32_t i = 0; i < spool->files.name_count; i++) {
        const struct sim_name *name = spool->files.names[i];
        if (!name->disk || strncmp(name->path, path, strlen(path)) != 0)
            continue;
        const uint64_t from = strtoull(name->path + strlen(path), NULL, 10);
        if (from <= one->offset && one->offset < from + name->disk->disk_size)
            return true;
    }
    return false;
}

void sim_damage_note(struct sim_process *process)
{
    struct sim_spool *spool = process->spool;
    for (uint32_t i = 0; i < spool->damage_count; i++)
        spool->damages[i].there = is_there(spool, &spool->damages[i]);
}

/* Its segment, unless that is gone. */
static const struct weir_segment *segment_of(const struct sim_spool *spool,
                                             const struct sim_damage *one)
{
    const struct weir_log *log = spool->open->log;
    for (uint32_t i = 0; i < log->segment_count; i++)
        if (log->segments[i]->salt == one->salt)
            return log->segments[i];
    return NULL;
}

static void check_kept(const struct sim_process *process, const struct sim_damage *one)
{
    if (!is_kept_aside(process->spool, one))
        sim_fail(process->sim, SIM_CHECK_DAMAGE,
                 "%s has not kept what was damaged at %" PRIu64 " of %s aside", process->name,
                 one->offset, one->path);
}

void sim_damage_check(struct sim_process *process, const char *report)
{
    const struct sim_spool *spool = process->spool;
    if (report && spool->damage_count == 0)
        sim_fail(process->sim, SIM_CHECK_DAMAGE, "%s reports damage where there is none: %s",
                 process->name, report);
    for (uint32_t i = 0; i < spool->damage_count; i++) {
        const struct sim_damage *one = &spool->damages[i];
        const struct weir_segment *segment = segment_of(spool, one);
        if (!one->there || (segment && segment->unsurveyed))
            continue;
        if (!report || !is_reported(report, one))
            sim_fail(process->sim, SIM_CHECK_DAMAGE,
                     "%s starts and does not say that messages %" PRIu64 " to %" PRIu64
                     " are damaged: %s",
                     process->name, one->first, one->last, report ? report : "(no report)");
        else
            check_kept(process, one);
    }
}

void sim_damage_check_read(struct sim_process *process)
{
    const struct sim_spool *spool = process->spool;
    if (spool->files.dead)
        return;
    for (uint32_t i = 0; i < spool->damage_count; i++) {
        const struct weir_segment *segment = segment_of(spool, &spool->damages[i]);
        if (spool->damages[i].there && segment && !segment->unsurveyed)
            check_kept(process, &spool->damages[i]);
    }
}
