/* Holds docs/protocol.md against the code. A block of the document between
 *
 *     <!-- generated: NAME -->   and   <!-- end -->
 *
 * must be what this program prints under NAME, and no block may be missing.
 *
 *     protocol_doc FILE            compare; exit status 1 and the differing block on stderr if not
 * so protocol_doc --write FILE    put the right blocks in */
#include "protocol_doc.h"

#include <base/alloc.h>

#include <stdlib.h>
#include <string.h>

#define BEGIN "<!-- generated: "
#define END "<!-- end -->"

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t size = 0, got;

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    do {
        text = weir_realloc(text, size + 4096 + 1, 1);
        got = fread(text + size, 1, 4096, file);
        size += got;
    } while (got > 0);
    text[size] = '\0';
    (void)fclose(file);
    return text;
}

static char *block_text(const char *name)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL || (!print_tables(name, out) && !print_dump(name, out))) {
        fprintf(stderr, "no block is called \"%s\"\n", name);
        exit(1);
    }
    (void)fclose(out);
    return text;
}

/* The document with every block as it should be. Counts the blocks of each name in `seen`. */
static char *regenerate(const char *document, const char *const *names[2], int *seen)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    const char *at = document, *begin;

    while (out != NULL && (begin = strstr(at, BEGIN)) != NULL) {
        const char *name = begin + strlen(BEGIN);
        const char *name_end = strstr(name, " -->\n"), *end = strstr(name, END);
        char *wanted, *block;
        int index = 0;

        if (name_end == NULL || end == NULL || name_end > end) {
            fprintf(stderr, "a block has no end: %.40s\n", begin);
            exit(1);
        }
        wanted = weir_strndup(name, (size_t)(name_end - name));
        block = block_text(wanted);
        (void)fwrite(at, 1, (size_t)(name_end - at), out);
        fprintf(out, " -->\n%s", block);
        for (int list = 0; list < 2; list++)
            for (const char *const *known = names[list]; *known != NULL; known++, index++)
                seen[index] += strcmp(*known, wanted) == 0;
        free(block);
        free(wanted);
        at = end;
    }
    fputs(at, out);
    (void)fclose(out);
    return text;
}

static int first_difference(const char *is, const char *should)
{
    int line = 1;

    while (*is != '\0' && *is == *should) {
        line += *is == '\n';
        is++;
        should++;
    }
    return line;
}

int main(int argc, char **argv)
{
    const char *const *names[2] = {table_names(), dump_names()};
    bool write = argc == 3 && strcmp(argv[1], "--write") == 0;
    int seen[256] = {0}, index = 0, status = 0;
    char *is, *should;

    if (argc != 2 && !write) {
        fprintf(stderr, "usage: protocol_doc [--write] FILE\n");
        return 2;
    }
    is = read_file(argv[argc - 1]);
    should = regenerate(is, names, seen);
    for (int list = 0; list < 2; list++)
        for (const char *const *name = names[list]; *name != NULL; name++, index++)
            if (seen[index] != 1) {
                fprintf(stderr, "%s: the block \"%s\" is there %d times, expected once\n",
                        argv[argc - 1], *name, seen[index]);
                status = 1;
            }
    if (strcmp(is, should) != 0 && write) {
        FILE *file = fopen(argv[argc - 1], "w");

        if (file == NULL || fputs(should, file) < 0 || fclose(file) != 0) {
            perror(argv[argc - 1]);
            status = 2;
        }
    } else if (strcmp(is, should) != 0) {
        fprintf(stderr, "%s:%d: not what the code says; protocol_doc --write mends it\n",
                argv[argc - 1], first_difference(is, should));
        status = 1;
    }
    free(is);
    free(should);
    return status;
}
