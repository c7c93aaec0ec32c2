/* Handlers: that they are there and may be executed. Looks at files. */
#include <base/alloc.h>
#include <config/draft.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0, or an errno that says why the file cannot be a handler. */
static int executable(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0)
        return errno;
    if (S_ISDIR(status.st_mode))
        return EISDIR;
    return access(path, X_OK) == 0 ? 0 : errno;
}

/* The program's path, from PATH; NULL: not there. */
static char *search_path(const char *name)
{
    const char *path = getenv("PATH");

    if (path == NULL)
        path = "/usr/local/bin:/usr/bin:/bin";
    while (true) {
        size_t bytes = strcspn(path, ":");
        char *candidate = bytes == 0 ? weir_asprintf("./%s", name)
                                     : weir_asprintf("%.*s/%s", (int)bytes, path, name);

        if (executable(candidate) == 0)
            return candidate;
        free(candidate);
        if (path[bytes] == '\0')
            return NULL;
        path += bytes + 1;
    }
}

static void check_program(struct weir_draft *draft, uint32_t index, const char *option,
                          char **words)
{
    const char *name = words[0];
    struct weir_place place = draft->nodes[index].place;
    void *state = NULL;
    struct fy_node *list = weir_draft_get(draft->nodes[index].map, option, &place);
    char *path;

    place = weir_draft_place(weir_draft_next(list, &state), place);
    if (strchr(name, '/') == NULL) {
        path = search_path(name);
        if (path == NULL) {
            const char *space = strchr(name, ' ');

            weir_findings_error(&draft->findings, place,
                                "%s: there is no program '%.200s' in PATH\nexpected %s", option,
                                name,
                                space ? "a list, [program, argument, …], not one text"
                                      : "an installed program, or a path with a slash in it, such "
                                        "as ./handler.sh beside the topology file");
            return;
        }
    } else {
        path = name[0] == '/' ? weir_strdup(name)
                              : weir_asprintf("%s/%s", draft->topology->directory, name);
        int why = executable(path);

        if (why != 0) {
            weir_findings_error(
                &draft->findings, place, "%s: %.400s: %s\n%s", option, name,
                why == EACCES ? "not executable" : strerror(why),
                why == EACCES
                    ? "make it executable: chmod +x"
                    : "expected a program; a path starts at the topology file's directory");
            free(path);
            return;
        }
    }
    free(words[0]);
    words[0] = path;
}

void weir_draft_check_programs(struct weir_draft *draft)
{
    struct weir_topology *topology = draft->topology;

    for (uint32_t i = 0; i < topology->node_count; i++) {
        struct weir_node *node = &topology->nodes[i];

        if (node->run != NULL && node->run[0] != NULL && node->run[0][0] != '\0')
            check_program(draft, i, "run", node->run);
        if (node->serve != NULL && node->serve[0] != NULL && node->serve[0][0] != '\0')
            check_program(draft, i, "serve", node->serve);
    }
}
