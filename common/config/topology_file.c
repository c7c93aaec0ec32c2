/* Loading a topology: reads the file, then the steps of draft.h. */
#include <base/alloc.h>
#include <config/draft.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct weir_place nowhere = {0};

/* The whole file with a NUL behind it; NULL when that was reported. */
static char *read_file(const char *file, size_t *bytes, struct weir_findings *findings)
{
    struct stat status;
    char *text = NULL;
    size_t used = 0;
    int fd = open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status) != 0) {
        weir_findings_error(findings, nowhere, "cannot open: %s\nexpected a topology file",
                            strerror(errno));
        goto cleanup;
    }
    if (S_ISDIR(status.st_mode)) {
        weir_findings_error(findings, nowhere, "is a directory\nexpected a topology file in it");
        goto cleanup;
    }
    text = weir_alloc(WEIR_TOPOLOGY_BYTES_MAX + 2);
    while (used <= WEIR_TOPOLOGY_BYTES_MAX) {
        ssize_t got = read(fd, text + used, WEIR_TOPOLOGY_BYTES_MAX + 1 - used);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            weir_findings_error(findings, nowhere, "cannot read: %s", strerror(errno));
            free(text);
            text = NULL;
            goto cleanup;
        }
        if (got == 0)
            break;
        used += (size_t)got;
    }
    if (used > WEIR_TOPOLOGY_BYTES_MAX) {
        weir_findings_error(findings, nowhere, "is too large\nexpected at most %u bytes",
                            WEIR_TOPOLOGY_BYTES_MAX);
        free(text);
        text = NULL;
        goto cleanup;
    }
    text[used] = '\0';
    *bytes = used;
cleanup:
    if (fd >= 0)
        close(fd);
    return text;
}

/* Length of the UTF-8 character at `at`, or 0. */
static size_t character_bytes(const unsigned char *at, size_t left)
{
    size_t bytes = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

    if (bytes == 0 || at[0] > 0xf4 || bytes > left)
        return 0;
    for (size_t i = 1; i < bytes; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    return bytes;
}

static bool check_text(const char *text, size_t bytes, struct weir_findings *findings)
{
    struct weir_place place = {.line = 1, .column = 1, .width = 1};

    for (size_t at = 0; at < bytes;) {
        size_t step = character_bytes((const unsigned char *)text + at, bytes - at);

        if (step == 0 || text[at] == '\0') {
            weir_findings_error(findings, place, "this byte is not text\nexpected a file in UTF-8");
            return false;
        }
        place.column++;
        if (text[at] == '\n') {
            place.line++;
            place.column = 1;
        }
        at += step;
    }
    return true;
}

static void take_syntax_errors(struct fy_diag *diag, struct weir_findings *findings)
{
    struct fy_diag_error *error;
    void *state = NULL;
    bool any = false;

    while ((error = fy_diag_errors_iterate(diag, &state)) != NULL) {
        struct weir_place place = {.line = error->line > 0 ? (uint32_t)error->line : 0,
                                   .column = error->column > 0 ? (uint32_t)error->column : 1,
                                   .width = 1};

        weir_findings_error(findings, place, "not valid YAML: %s", error->msg ? error->msg : "?");
        any = true;
    }
    if (!any)
        weir_findings_error(findings, nowhere, "not valid YAML");
}

static void read_draft(struct weir_draft *draft)
{
    weir_draft_read(draft);
    weir_draft_wire(draft);
    weir_draft_check(draft);
    weir_draft_check_programs(draft);
}

/* Parse the text, and make what can be made of it. */
static void parse(struct weir_draft *draft, const char *text, size_t bytes, bool warn)
{
    struct fy_diag_cfg diag_config;

    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    struct fy_diag *diag = weir_allocated(fy_diag_create(&diag_config), sizeof diag_config);

    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg config = {.flags = FYPCF_COLLECT_DIAG | FYPCF_ALLOW_DUPLICATE_KEYS |
                                           FYPCF_DEFAULT_VERSION_1_2,
                                  .diag = diag};
    struct fy_parser *parser = weir_allocated(fy_parser_create(&config), sizeof config);
    struct fy_document *document = NULL, *second = NULL;

    if (fy_parser_set_string(parser, text, bytes) == 0)
        document = fy_parse_load_document(parser);
    if (document != NULL && !fy_parser_get_stream_error(parser))
        second = fy_parse_load_document(parser);
    if (fy_parser_get_stream_error(parser)) {
        take_syntax_errors(diag, &draft->findings);
    } else if (document == NULL || fy_document_root(document) == NULL) {
        weir_findings_error(&draft->findings, nowhere,
                            "is empty\nexpected 'topology: NAME' and 'nodes:'");
    } else {
        if (second != NULL)
            weir_findings_error(&draft->findings, nowhere,
                                "holds more than one YAML document\nexpected one ('---' starts "
                                "another)");
        draft->root = fy_document_root(document);
        read_draft(draft);
        if (warn && draft->findings.error_count == 0)
            weir_draft_warn(draft);
    }
    if (second != NULL)
        fy_parse_document_destroy(parser, second);
    if (document != NULL)
        fy_parse_document_destroy(parser, document);
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
}

/* The absolute directory of a file. */
static char *directory_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *directory =
        slash == NULL ? weir_strdup(".") : weir_strndup(file, (size_t)(slash - file) + 1);
    char *absolute = realpath(directory, NULL);

    if (absolute == NULL)
        return directory;
    free(directory);
    return absolute;
}

int weir_topology_load(const char *file, FILE *report, bool warn, struct weir_topology **topology,
                       uint32_t *warnings)
{
    struct weir_draft draft = {.topology = weir_zalloc(1, sizeof *draft.topology)};
    size_t bytes = 0;
    char *text = read_file(file, &bytes, &draft.findings);

    draft.topology->file = weir_strdup(file);
    draft.topology->directory = directory_of(file);
    if (text != NULL && check_text(text, bytes, &draft.findings))
        parse(&draft, text, bytes, warn);
    weir_findings_print(&draft.findings, file, text, bytes, report);
    for (uint32_t i = 0; draft.nodes != NULL && i < draft.topology->node_count; i++)
        free(draft.nodes[i].group_places);
    free(draft.nodes);
    free(text);
    int status = draft.findings.error_count == 0 ? 0 : WEIR_ECONFIG;

    if (warnings != NULL)
        *warnings = draft.findings.warning_count;
    weir_findings_fini(&draft.findings);
    if (status != 0)
        weir_topology_destroy(&draft.topology);
    *topology = draft.topology;
    return status;
}
