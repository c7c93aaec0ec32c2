/* The few plain values that libweir's callers and Weir itself share. */
#ifndef WEIR_TYPES_H
#define WEIR_TYPES_H

#define WEIR_API __attribute__((visibility("default")))

/* How a handler ended. */
enum weir_outcome {
    WEIR_DONE = 0,
    WEIR_RETRY = 1,       /* failed; counts as an attempt */
    WEIR_REJECT = 2,      /* can never work: dead at once */
    WEIR_RELEASE = 3,     /* given back untouched; does not count */
    WEIR_UNAVAILABLE = 4, /* a release that also tells the breaker */
};

/* How durable an accepted message is: synced to the disk before it was confirmed, within an
 * interval after, or whenever the kernel likes. */
enum weir_fsync { WEIR_FSYNC_ALWAYS, WEIR_FSYNC_INTERVAL, WEIR_FSYNC_NEVER };

/* A message id: 16 bytes that sort by time; as text 26 characters of Crockford base 32. */
#define WEIR_ID_BYTES 16
#define WEIR_ID_TEXT_BYTES 27 /* with the final NUL */

#endif
