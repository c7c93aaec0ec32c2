/* A line that a coprocess answers. */
#include <executor/serve_lines.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_serve_answer answer;
    struct weir_error error = {0};
    if (weir_serve_answer((const char *)data, size, &answer, &error) != 0)
        WEIR_ASSERT(error.code == WEIR_EPROTO && error.text[0] != '\0');
    else
        WEIR_ASSERT(answer.error.size <= WEIR_ERROR_BYTES_MAX);
    weir_serve_answer_fini(&answer);
    return 0;
}
