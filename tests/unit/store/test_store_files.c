/* The contract's suite on a spool. */
#include "spool_fixture.h"

#include <stdlib.h>

int main(void)
{
    void *state;
    struct spool_fixture *fixture;
    int failed;

    fixture_set_up(&state);
    fixture = state;
    failed = conformance_run(&fixture->subject);
    fixture_tear_down(&state);
    return failed;
}
