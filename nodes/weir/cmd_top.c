#include "command.h"
#include "output.h"
#include "survey.h"
#include "survey_table.h"

#include <errno.h>
#include <locale.h>
#include <ncurses.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: weir top [--once]\n"
    "\n"
    "Processes and groups, live, and what they do a second. 'q' ends it. Where the output is no\n"
    "terminal, or with --once, they are printed once.\n"
    "\n"
    "  -t, --topology FILE  which topology (default: $WEIR_TOPOLOGY)\n"
    "      --once           print once and end\n"
    "      --interval TIME  how often to ask (default: 1s)\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0; 64 usage; 69 nothing of it runs (with --once); 78 the topology has errors.\n";

/* The tables as text, so that a screen shows just what `weir ps` prints. */
static char *tables(const struct weir_survey *survey, bool coloured)
{
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    WEIR_ASSERT(out != NULL);
    weir_survey_print_groups(survey, out, coloured);
    fputc('\n', out);
    weir_survey_print_processes(survey, out, coloured);
    fclose(out);
    return text;
}

/* The attributes that weir_colour_start can ask for, from its escape sequences. */
static attr_t attribute_of(const char *code)
{
    if (strncmp(code, "[1m", 3) == 0)
        return A_BOLD;
    if (strncmp(code, "[2m", 3) == 0)
        return A_DIM;
    if (strncmp(code, "[31m", 4) == 0)
        return (attr_t)COLOR_PAIR(1);
    if (strncmp(code, "[32m", 4) == 0)
        return (attr_t)COLOR_PAIR(2);
    if (strncmp(code, "[33m", 4) == 0)
        return (attr_t)COLOR_PAIR(3);
    return A_NORMAL;
}

static void draw(const char *text)
{
    int row = 2;

    for (const char *at = text; *at != '\0' && row < LINES; row++) {
        size_t bytes = strcspn(at, "\n");

        move(row, 0);
        for (const char *end = at + bytes; at < end;) {
            size_t plain = strcspn(at, "\033\n");

            addnstr(at, (int)plain);
            at += plain;
            if (*at == '\033') {
                attrset(attribute_of(at + 1));
                at += strcspn(at, "m") + 1;
            }
        }
        attrset(A_NORMAL);
        if (*at == '\n')
            at++;
    }
}

static void draw_screen(const struct weir_topology *topology, const struct weir_survey *survey)
{
    char *text = tables(survey, true), head[160];

    erase();
    snprintf(head, sizeof head, "%.63s  %u of %u processes answer%s", topology->name, survey->alive,
             survey->count, survey->supervisor ? "" : ", no supervisor");
    attrset(A_BOLD);
    mvaddnstr(0, 0, head, COLS);
    attrset(A_DIM);
    mvaddnstr(0, COLS > 12 ? COLS - 8 : 0, "q: quit", 8);
    attrset(A_NORMAL);
    draw(text);
    refresh();
    free(text);
}

/* Wait for the next round; false when a person has had enough. */
static bool wait_for_round(int64_t interval_ms)
{
    struct pollfd item = {.fd = STDIN_FILENO, .events = POLLIN};
    int got = poll(&item, 1, (int)interval_ms), key;

    if (got <= 0)
        return got == 0 || errno == EINTR; /* EINTR: the window has another size */
    if (item.revents & (POLLHUP | POLLERR))
        return false;
    while ((key = getch()) != ERR) {
        if (key == 'q' || key == 'Q' || key == 3)
            return false;
    }
    return true;
}

static void live(const struct weir_topology *topology, struct weir_admin *admin,
                 int64_t interval_ms)
{
    struct weir_survey survey, earlier = {0};

    setlocale(LC_ALL, "");
    initscr();
    cbreak();
    noecho();
    curs_set(0);
    nodelay(stdscr, TRUE);
    if (has_colors()) {
        start_color();
        use_default_colors();
        init_pair(1, COLOR_RED, -1);
        init_pair(2, COLOR_GREEN, -1);
        init_pair(3, COLOR_YELLOW, -1);
    }
    do {
        weir_survey_make(&survey, topology, admin, interval_ms);
        survey.earlier = &earlier;
        draw_screen(topology, &survey);
        weir_survey_fini(&earlier);
        earlier = survey;
    } while (wait_for_round(interval_ms));
    weir_survey_fini(&earlier);
    endwin();
}

static int once(const struct weir_command *self, const struct weir_topology *topology,
                struct weir_admin *admin)
{
    struct weir_survey survey;
    int status = 0;

    weir_survey_make(&survey, topology, admin, WEIR_ADMIN_TIMEOUT_MS);
    if (survey.alive == 0 && survey.supervisor == 0) {
        status = weir_command_failed(self, EX_UNAVAILABLE,
                                     "'%s' is not up in this directory; start it with 'weir up %s'",
                                     topology->name, topology->file);
    } else {
        char *text = tables(&survey, weir_output_coloured(stdout));

        fputs(text, stdout);
        free(text);
    }
    weir_survey_fini(&survey);
    return status;
}

static int run(const struct weir_command *self, int argc, char **argv)
{
    enum { ONCE = 256, INTERVAL };
    static const struct option options[] = {{"topology", required_argument, NULL, 't'},
                                            {"once", no_argument, NULL, ONCE},
                                            {"interval", required_argument, NULL, INTERVAL},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct weir_topology *topology;
    struct weir_error error;
    const char *file = NULL;
    int64_t interval_ms = 1000;
    bool one_shot = !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO);
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "t:h", options, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            return status;
        if (option == 't')
            file = optarg;
        else if (option == ONCE)
            one_shot = true;
        else if (weir_duration_parse(optarg, &interval_ms, &error) != 0 || interval_ms < 100 ||
                 interval_ms > 3600000)
            return weir_command_misused(self, "--interval: expected a time from 100ms to 1h");
    }
    if (optind < argc)
        return weir_command_misused(self, "unexpected argument '%s'", argv[optind]);
    status = weir_command_topology(self, file, &topology);
    if (status != 0)
        return status;
    struct weir_admin *admin = weir_admin_new();

    if (one_shot)
        status = once(self, topology, admin);
    else
        live(topology, admin, interval_ms);
    weir_admin_destroy(&admin);
    weir_topology_destroy(&topology);
    return status == 0 && fflush(stdout) != 0 ? EX_IOERR : status;
}

const struct weir_command weir_command_top = {"top", "processes and groups, live", help, run};
