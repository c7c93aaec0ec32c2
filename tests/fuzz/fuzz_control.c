/* A control frame as any peer may send it: it decodes, or it is refused with a reason; and what
 * decodes can be encoded, to something that decodes to the same. */
#include <string.h>
#include <wire/control.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_bytes frame = weir_bytes_borrow(data, size);
    struct weir_control control, again;
    struct weir_error error = {0};
    if (weir_control_decode(&frame, &control, &error) != 0) {
        WEIR_ASSERT(error.code != 0 && error.text[0] != '\0');
        return 0;
    }
    struct weir_bytes encoded = weir_control_encode(&control);
    WEIR_ASSERT(weir_control_decode(&encoded, &again, &error) == 0);
    WEIR_ASSERT(again.verb == control.verb && again.has == control.has);
    struct weir_bytes twice = weir_control_encode(&again);
    WEIR_ASSERT(weir_bytes_equal(&twice, encoded.data, encoded.size));
    weir_control_fini(&control);
    weir_control_fini(&again);
    weir_bytes_drop(&encoded);
    weir_bytes_drop(&twice);
    return 0;
}
