#include <executor/environment.h>

#include <base/alloc.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a message sets at most besides its headers: the five below, TRACEPARENT and the end. */
#define FIXED_MAX 7u

static const char *const message_variables[] = {"WEIR_ID",      "WEIR_TOPIC", "WEIR_GROUP",
                                                "WEIR_ATTEMPT", "WEIR_KEY",   "TRACEPARENT"};

struct weir_environment {
    char **base; /* NULL-ended */
    uint32_t count;
};

static size_t name_bytes(const char *variable)
{
    return strcspn(variable, "=");
}

static bool same_name(const char *a, const char *b)
{
    size_t bytes = name_bytes(a);
    return bytes == name_bytes(b) && memcmp(a, b, bytes) == 0;
}

static bool of_a_message(const char *variable)
{
    static const char prefix[] = "WEIR_HEADER_";
    if (strncmp(variable, prefix, sizeof prefix - 1) == 0)
        return true;
    for (size_t i = 0; i < sizeof message_variables / sizeof *message_variables; i++)
        if (same_name(variable, message_variables[i]))
            return true;
    return false;
}

static void put(struct weir_environment *self, const char *variable)
{
    if (of_a_message(variable))
        return;
    for (uint32_t i = 0; i < self->count; i++)
        if (same_name(self->base[i], variable)) {
            free(self->base[i]);
            self->base[i] = weir_strdup(variable);
            return;
        }
    self->base = weir_realloc(self->base, self->count + 2, sizeof *self->base);
    self->base[self->count++] = weir_strdup(variable);
    self->base[self->count] = NULL;
}

struct weir_environment *weir_environment_new(char *const *own, char *const *extra)
{
    struct weir_environment *self = weir_zalloc(1, sizeof *self);
    self->base = weir_zalloc(1, sizeof *self->base);
    for (; own != NULL && *own != NULL; own++)
        put(self, *own);
    for (; extra != NULL && *extra != NULL; extra++)
        put(self, *extra);
    return self;
}

void weir_environment_destroy(struct weir_environment **self)
{
    if (*self == NULL)
        return;
    for (uint32_t i = 0; i < (*self)->count; i++)
        free((*self)->base[i]);
    free((*self)->base);
    free(*self);
    *self = NULL;
}

char *const *weir_environment_base(const struct weir_environment *self)
{
    return self->base;
}

static char *header_variable(const struct weir_header_pair *header)
{
    char name[WEIR_HEADER_NAME_BYTES_MAX + 1];
    uint32_t bytes = header->name_bytes < sizeof name ? header->name_bytes : sizeof name - 1;
    for (uint32_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)header->name[i];
        name[i] = byte < 0x80 && isalnum(byte) ? (char)toupper(byte) : '_';
    }
    return weir_asprintf("WEIR_HEADER_%.*s=%.*s", (int)bytes, name, (int)header->value_bytes,
                         header->value);
}

static bool has_name(char *const *variables, uint32_t count, const char *variable)
{
    for (uint32_t i = 0; i < count; i++)
        if (same_name(variables[i], variable))
            return true;
    return false;
}

char **weir_environment_of(const struct weir_environment *self,
                           const struct weir_job_message *message)
{
    const struct weir_message_view *view = &message->view;
    char **all = weir_alloc((self->count + FIXED_MAX + view->header_count) * sizeof *all);
    memcpy(all, self->base, self->count * sizeof *all);
    char **own = all + self->count;
    uint32_t count = 0;
    own[count++] = weir_asprintf("WEIR_ID=%s", message->id);
    own[count++] = weir_asprintf("WEIR_TOPIC=%.*s", (int)message->topic_bytes, message->topic);
    own[count++] = weir_asprintf("WEIR_GROUP=%s", message->group);
    own[count++] = weir_asprintf("WEIR_ATTEMPT=%u", message->attempt);
    if (view->key != NULL)
        own[count++] = weir_asprintf("WEIR_KEY=%.*s", (int)view->key_bytes, view->key);
    uint32_t headers = count;
    for (uint32_t i = 0; i < view->header_count; i++) {
        const struct weir_header_pair *header = &view->headers[i];
        char *variable = header_variable(header);
        if (has_name(own + headers, count - headers, variable))
            free(variable);
        else
            own[count++] = variable;
    }
    for (uint32_t i = 0; i < view->header_count; i++) {
        const struct weir_header_pair *header = &view->headers[i];
        if (header->name_bytes == 11 && strncasecmp(header->name, "traceparent", 11) == 0) {
            own[count++] =
                weir_asprintf("TRACEPARENT=%.*s", (int)header->value_bytes, header->value);
            break;
        }
    }
    own[count] = NULL;
    return all;
}

void weir_environment_free(const struct weir_environment *self, char **environment)
{
    for (char **own = environment + self->count; *own != NULL; own++)
        free(*own);
    free(environment);
}
