#include "held_fixture.h"

#include <base/alloc.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char *fixture_directory_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path = weir_asprintf("%s/weir-test-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

char *fixture_path(const char *directory, const char *name)
{
    return weir_asprintf("%s/%s", directory, name);
}

void fixture_directory_destroy(char **self)
{
    DIR *directory = opendir(*self);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *path = fixture_path(*self, entry->d_name);
        unlink(path);
        free(path);
    }
    closedir(directory);
    rmdir(*self);
    free(*self);
    *self = NULL;
}

char *fixture_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    char *data = weir_alloc((size_t)size + 1);
    assert_int_equal(fread(data, 1, (size_t)size, file), size);
    data[size] = '\0';
    fclose(file);
    *bytes = (size_t)size;
    return data;
}

struct weir_store_request fixture_hold(uint64_t first, uint8_t producer, uint64_t number,
                                       const char *topic, const struct weir_message_view *messages,
                                       uint32_t count)
{
    const int64_t time_ms = 1700000000000 + (int64_t)number;
    struct weir_batch_header header = {
        .version = WEIR_BATCH_VERSION, .topic = topic, .topic_bytes = (uint32_t)strlen(topic)};
    header.has_spool = true;
    memset(header.spool, FIXTURE_SPOOL, sizeof header.spool);
    memset(header.producer, producer, sizeof header.producer);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(weir_batch_builder_add(builder, &messages[i], NULL), 0);
    struct weir_store_request request = {
        .id = number,
        .kind = WEIR_STORE_HOLD,
        .record = {.first = first, .count = count, .time_ms = time_ms},
        .producer =
            {.number = number,
             .time_ms = time_ms,
             .answers = {{.number = number, .first = first, .count = count, .time_ms = time_ms}},
             .answer_count = 1},
    };
    memset(request.producer.id, producer, sizeof request.producer.id);
    weir_batch_builder_finish(builder, number, time_ms, 0, &request.record.header,
                              &request.record.index, &request.record.body);
    weir_batch_builder_destroy(&builder);
    return request;
}

struct weir_message_view fixture_result(uint64_t sequence, const char *group, uint32_t death,
                                        const char *payload)
{
    const struct weir_id id = {.time_ms = 1600000000000, .tag = 7, .sequence = sequence};
    struct weir_message_view view = {
        .payload = (const uint8_t *)payload,
        .payload_bytes = strlen(payload),
        .has_origin = true,
        .origin = {.topic = "user.signed_up",
                   .topic_bytes = 14,
                   .group = group,
                   .group_bytes = (uint32_t)strlen(group),
                   .death = death,
                   .attempt = 2},
    };
    weir_id_encode(&id, view.origin.id);
    return view;
}
