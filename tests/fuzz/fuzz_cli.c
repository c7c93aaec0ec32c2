/* A command line of `weir`: one argument a line. Whatever it is, the command ends with an exit
 * status of sysexits.h. No topology can be named (the directory is empty), so nothing is started
 * and nobody is called; only `send --to` would be, and is left out. */
#include <command.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct weir_command *const commands[] = {
    &weir_command_up,    &weir_command_down,   &weir_command_ps,    &weir_command_top,
    &weir_command_send,  &weir_command_status, &weir_command_group, &weir_command_dlq,
    &weir_command_check, &weir_command_graph,
};

static char directory[] = "/tmp/weir-fuzz-XXXXXX";

static void leave(void)
{
    (void)rmdir(directory);
}

static void go_to_an_empty_directory(void)
{
    WEIR_ASSERT(mkdtemp(directory) && chdir(directory) == 0);
    WEIR_ASSERT(freopen("/dev/null", "w", stdout) && freopen("/dev/null", "r", stdin));
    unsetenv("WEIR_TOPOLOGY");
    atexit(leave);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    char *argv[ARGUMENTS_MAX + 1] = {NULL};
    int argc = 0;
    if (!ready)
        go_to_an_empty_directory();
    ready = true;
    if (size == 0)
        return 0;
    const struct weir_command *command = commands[*data % (sizeof commands / sizeof *commands)];
    char *text = strndup((const char *)data + 1, size - 1), *rest = text;
    argv[argc++] = (char *)(uintptr_t)command->name;
    bool calls = false;
    while (argc < ARGUMENTS_MAX && rest) {
        argv[argc++] = strsep(&rest, "\n");
        calls = calls || strncmp(argv[argc - 1], "--t", 3) == 0;
    }
    if (command != &weir_command_send || !calls) {
        optind = 0;
        const int status = command->run(command, argc, argv);
        WEIR_ASSERT(status == 0 || (status >= EX__BASE && status <= EX__MAX));
    }
    free(text);
    return 0;
}
