#include "history_table.h"

#include "output.h"

#include <inttypes.h>

void weir_history_print(const json_t *history, const char *title, FILE *out, bool coloured)
{
    struct weir_table *table;
    const json_t *note;
    size_t i;

    if (json_array_size(history) == 0)
        return;
    table = weir_table_new(">ATTEMPT|TIME|OUTCOME|WORKER|ERROR");
    json_array_foreach(history, i, note)
    {
        char moment[WEIR_TIME_BYTES];

        weir_format_time(weir_json_integer(note, "time_ms", -1), moment);
        weir_table_add(table, WEIR_PLAIN, "%" PRId64, weir_json_integer(note, "attempt", 0));
        weir_table_add(table, WEIR_PLAIN, "%s", moment);
        weir_table_add(table, WEIR_PLAIN, "%s", weir_json_text(note, "outcome", "?"));
        weir_table_add(table, WEIR_PLAIN, "%s", weir_json_text(note, "worker", "-"));
        weir_table_add(table, WEIR_RED, "%.400s", weir_json_text(note, "error", ""));
    }
    fputc('\n', out);
    if (title[0] != '\0')
        fprintf(out, "%s\n", title);
    weir_table_print(&table, out, coloured);
}
