/* Without libFuzzer: give every file of a corpus to the fuzzer's function, and cuts of it, as many
 * as `--cuts N` says; and with `--random N` so many inputs that are the same in every run. */
#include <base/random.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t cuts = 100;

static int replay(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    for (size_t cut = 0; cut <= size; cut += 1 + size / cuts) {
        uint8_t *exact = malloc(cut + !cut); /* so that a sanitizer sees a read beyond the end */
        memcpy(exact, data, cut);
        LLVMFuzzerTestOneInput(exact, cut);
        free(exact);
    }
    LLVMFuzzerTestOneInput(data, size);
    return 0;
}

static void play_random(unsigned long count)
{
    struct weir_random random;
    weir_random_seed(&random, 1);
    while (count-- > 0) {
        const size_t size = 1 + weir_random_below(&random, 1000);
        uint8_t *data = malloc(size);
        weir_random_fill(&random, data, size);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--random") == 0 && i + 1 < argc) {
            play_random(strtoul(argv[++i], NULL, 10));
            continue;
        }
        if (strcmp(argv[i], "--cuts") == 0 && i + 1 < argc) {
            cuts = strtoul(argv[++i], NULL, 10);
            continue;
        }
        DIR *directory = opendir(argv[i]);
        if (!directory) {
            perror(argv[i]);
            return 1;
        }
        const struct dirent *entry;
        while ((entry = readdir(directory)) != NULL) {
            char path[4096];
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            if (replay(path) != 0)
                return 1;
            count++;
        }
        closedir(directory);
    }
    printf("%d files replayed\n", count);
    return count == 0;
}
