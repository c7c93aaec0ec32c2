/* What the records of one segment say, one after another: where they begin, where they are damaged,
 * where they end. A start surveys the segments that may hold what the state does not know; those
 * below are surveyed when they are first read. */
#ifndef WEIR_STORE_LOG_SURVEY_H
#define WEIR_STORE_LOG_SURVEY_H

#include "log.h"
#include "log_scan.h"

#define WEIR_SURVEY_STEP_BYTES (1u << 20)

struct weir_bad_place {
    uint64_t from;
    uint64_t to;    /* the next good record, or the end of the file */
    uint64_t after; /* the last sequence before it */
    uint64_t next;  /* the first sequence behind it; 0: nothing is */
    /* The log's state before it, in case the log ends here. */
    uint32_t crc;
    uint32_t place_count;
};

struct weir_survey {
    const struct weir_log *log;
    struct weir_window window;
    struct weir_error *error;
    uint64_t mark; /* the highest certified mark seen */
    /* Of the segment looked at. */
    struct weir_segment *segment;
    struct weir_bad_place *bad;
    uint32_t bad_count;
    uint32_t crc; /* of its last good record */
    /* Of all. */
    char *report; /* of damage; NULL: none */
    uint32_t reported;
};

void weir_survey_fini(struct weir_survey *survey);
/* Add a line to the report; it is taken over. */
void weir_survey_tell(struct weir_survey *survey, char *line);
/* Walk the records of a segment whose file is open; `limit` is the last sequence known to belong to
 * it. */
int weir_survey_scan(struct weir_survey *survey, struct weir_segment *segment, uint64_t limit);
/* The bad places that the mark certifies become holes: they are kept aside and reported. The one
 * where the log ends (of the last segment), or NULL, in *cut. */
int weir_survey_judge(struct weir_survey *survey, uint64_t limit,
                      const struct weir_bad_place **cut);
/* The segment ends before this place. */
void weir_survey_cut_off(struct weir_survey *survey, const struct weir_bad_place *cut);

/* Survey a segment that the start left out. It is pinned and its file is open. What is damaged is
 * told to the operator at once. (Reader.) */
int weir_survey_late(struct weir_log *log, struct weir_segment *segment, struct weir_error *error);

#endif
