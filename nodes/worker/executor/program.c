#include <executor/program.h>

#include <base/alloc.h>
#include <executor/child.h>
#include <stdlib.h>
#include <unistd.h>

int weir_program_init(struct weir_program *self, const struct weir_handler_program *handler,
                      struct weir_error *error)
{
    *self = (struct weir_program){0};
    int status = weir_program_find(handler->argv[0], &self->path, error);
    if (status != 0)
        return status;
    uint32_t count = 0;
    while (handler->argv[count] != NULL)
        count++;
    self->argv = weir_zalloc(count + 1, sizeof *self->argv);
    for (uint32_t i = 0; i < count; i++)
        self->argv[i] = weir_strdup(handler->argv[i]);
    self->environment = weir_environment_new(environ, handler->env);
    return 0;
}

void weir_program_fini(struct weir_program *self)
{
    for (char **argument = self->argv; argument != NULL && *argument != NULL; argument++)
        free(*argument);
    free(self->argv);
    free(self->path);
    weir_environment_destroy(&self->environment);
}
