/* A topology file: it loads, or every error in it is told. */
#include <config/config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("topology", 0);
    char path[64];
    WEIR_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    char *text = NULL;
    size_t text_bytes = 0;
    FILE *report = open_memstream(&text, &text_bytes);
    struct weir_topology *topology = NULL;
    int status = weir_topology_load(path, report, true, &topology, NULL);
    fclose(report);
    WEIR_ASSERT((status == 0) == (topology != NULL));
    WEIR_ASSERT(status == 0 || text_bytes > 0);
    weir_topology_destroy(&topology);
    free(text);
    close(fd);
    return 0;
}
