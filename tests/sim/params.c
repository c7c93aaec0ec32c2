/* The parameters of a scenario: drawn from the seed, unless somebody has set them. */
#include "sim.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct sim_param params[] = {
#define X(name, simplest, least, most, percent, text) {#name, text, simplest, least, most, percent},
#include "params.def"
#undef X
};
_Static_assert(SIM_PARAMS <= 64, "which are set fits 64 bits");

const struct sim_param *sim_param_of(uint32_t number)
{
    return &params[number];
}

uint32_t *sim_param_value(struct sim_params *values, uint32_t number)
{
    return (uint32_t *)(void *)values + number;
}

void sim_params_draw(struct sim *sim)
{
    struct weir_random random; /* its own: setting one parameter leaves the others as they were */
    weir_random_seed(&random, sim->seed ^ UINT64_C(0x77656972));
    for (uint32_t i = 0; i < SIM_PARAMS; i++) {
        const struct sim_param *param = &params[i];
        const bool simple = weir_random_below(&random, 100) >= param->percent;
        const uint32_t drawn =
            param->least + (uint32_t)weir_random_below(&random, param->most - param->least + 1);
        if ((sim->fixed >> i & 1) == 0)
            *sim_param_value(&sim->params, i) = simple ? param->simplest : drawn;
    }
}

int sim_params_set(struct sim *sim, const char *name, const char *text)
{
    for (uint32_t i = 0; i < SIM_PARAMS; i++) {
        if (strcmp(params[i].name, name) != 0)
            continue;
        uint32_t value;
        char rest;
        const uint32_t most = strcmp(name, "salt") == 0 ? UINT32_MAX : params[i].most;
        if (sscanf(text, "%" SCNu32 "%c", &value, &rest) != 1 || text[0] == '-' ||
            value < params[i].simplest || value > most) {
            fprintf(stderr, "sim: --%s: '%s' is not a number from %" PRIu32 " to %" PRIu32 "\n",
                    name, text, params[i].simplest, most);
            return -1;
        }
        *sim_param_value(&sim->params, i) = value;
        sim->fixed |= UINT64_C(1) << i;
        return 0;
    }
    return -1;
}

void sim_params_print(struct sim *sim, FILE *out)
{
    for (uint32_t i = 0; i < SIM_PARAMS; i++)
        if (sim->fixed >> i & 1)
            fprintf(out, " --%s %" PRIu32, params[i].name, *sim_param_value(&sim->params, i));
}
