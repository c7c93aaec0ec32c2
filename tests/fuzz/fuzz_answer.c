/* What a node, or whatever stands at its address, answers to `weir ps` and `weir status`: it
 * becomes JSON and tables, or it is said what is wrong with it. */
#include <config/config.h>
#include <history_table.h>
#include <msgpack_json.h>
#include <stdint.h>
#include <stdio.h>
#include <survey.h>
#include <survey_table.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void show(json_t *answer)
{
    static FILE *nowhere;
    if (!nowhere)
        nowhere = fopen("/dev/null", "w");
    WEIR_ASSERT(nowhere);
    char name[] = "intake";
    const struct weir_node node = {.name = name, .role = WEIR_ROLE_VENTILATOR};
    struct weir_seen seen = {.node = &node, .label = "intake", .state = "running", .stats = answer};
    const struct weir_survey survey = {.at = &seen, .count = 1};
    weir_survey_print_processes(&survey, nowhere, false);
    weir_survey_print_groups(&survey, nowhere, true);
    json_t *told = weir_seen_to_json(&seen);
    WEIR_ASSERT(json_is_object(told));
    json_decref(told);
    weir_history_print(json_object_get(answer, "history"), "", nowhere, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *answer = NULL;
    struct weir_error error = {0};
    if (weir_msgpack_to_json(data, size, &answer, &error) != 0) {
        WEIR_ASSERT(error.code == WEIR_EPROTO && error.text[0] != '\0');
        return 0;
    }
    if (json_is_object(answer)) /* admin_zmq.c takes nothing else */
        show(answer);
    json_decref(answer);
    return 0;
}
