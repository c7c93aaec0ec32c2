/* The slow part of the service's work: greets new users, one message at a time on four threads.
 *
 *     worker DISPATCH-ENDPOINT [SUBMIT-ENDPOINT]        (the second one: where results go) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>

static int greet(weir_job_t *job, void *arg)
{
    (void)arg;
    size_t bytes;
    const char *address = weir_job_payload(job, &bytes);
    if (memchr(address, '@', bytes) == NULL) {
        weir_job_error(job, "\"%.*s\" is no address", (int)bytes, address);
        return WEIR_REJECT; /* no other attempt will make it one */
    }
    /* Here a mail would be sent. A mail server that is down would be WEIR_UNAVAILABLE, any other
     * failure WEIR_RETRY; the id makes a second mail for the same signup recognisable. */
    char result[512];
    int length =
        snprintf(result, sizeof result, "greeted %.*s", (int)(bytes < 400 ? bytes : 400), address);
    weir_job_result(job, result, (size_t)length);
    return WEIR_DONE;
}

int main(int argc, char **argv)
{
    struct weir_error error = {0};
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: worker DISPATCH-ENDPOINT [SUBMIT-ENDPOINT]\n");
        return 64;
    }
    weir_worker_options_t *options = weir_worker_options_new("greetings", greet, NULL);
    weir_worker_options_add_from(options, argv[1]);
    if (argc == 3)
        weir_worker_options_set_to(options, argv[2]);
    weir_worker_options_set_concurrency(options, 4);
    int status = weir_worker_run(options, &error); /* until SIGTERM or SIGINT, then it drains */
    weir_worker_options_destroy(&options);
    if (status != 0)
        fprintf(stderr, "worker: %s\n", error.text);
    return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
