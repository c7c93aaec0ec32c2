/* A spool in a temporary directory of its own, and what tests do to its files. */
#ifndef WEIR_TESTS_SPOOL_FIXTURE_H
#define WEIR_TESTS_SPOOL_FIXTURE_H

#include "conformance.h"

#include <store/spool.h>

#define SEGMENT_BYTES 65536u

struct spool_fixture {
    struct subject subject; /* first: perform() and the like take it */
    char directory[64];
    struct weir_spool_config config;
    const struct weir_io *io;
};

/* cmocka's set-up and tear-down: *state is a fixture with an open spool of small segments. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);

void fixture_open(struct spool_fixture *fixture);
/* Must fail with this code; the error's text is in *error. */
void fixture_open_fails(struct spool_fixture *fixture, int code, struct weir_error *error);
void fixture_close(struct spool_fixture *fixture);
/* Run `work` in a child process that has the spool open, and end that child without any goodbye. */
void fixture_in_killed_child(struct spool_fixture *fixture,
                             void (*work)(struct spool_fixture *fixture));
/* The same, and the child ends by itself (an I/O function that calls _exit). */
void fixture_in_child(struct spool_fixture *fixture, void (*work)(struct spool_fixture *fixture));

void fixture_append(struct spool_fixture *fixture, uint64_t first, uint32_t count,
                    uint32_t body_bytes);
/* The status of an append that may fail. */
int fixture_try_append(struct spool_fixture *fixture, uint64_t first, uint32_t body_bytes,
                       struct weir_error *error);
void fixture_absorb(struct spool_fixture *fixture, uint64_t sequence);
/* READ from 1 on finds exactly the single messages [first, last], all with bodies of this size. */
void fixture_assert_holds(struct spool_fixture *fixture, uint64_t first, uint64_t last,
                          uint32_t body_bytes);

char *fixture_path(const struct spool_fixture *fixture, const char *name);
char *fixture_segment(const struct spool_fixture *fixture, uint64_t first);
uint32_t fixture_count_files(const struct spool_fixture *fixture, const char *directory,
                             const char *ending);
uint8_t *file_read(const char *path, size_t *size);
void file_write(const char *path, const void *data, size_t size);
void file_flip(const char *path, uint64_t offset);
/* Where the n-th record (from 0) of a segment begins, by its headers. */
uint64_t record_offset(const char *path, uint32_t n);

#endif
