/* One seed: first faults, then quiet, then everything must have drained. */
#include "sim.h"

#define QUIET_NS (INT64_C(4000) * WEIR_NS_PER_S)

bool sim_play(struct sim *sim)
{
    sim_params_draw(sim);
    sim_scenario(sim);
    if (!sim_run(sim, sim->faults_end_ns, NULL) && sim->failure[0] == '\0')
        sim_fail(sim, SIM_CHECK_DRAIN, "the run ended early");
    sim_heal(sim);
    if (!sim_run(sim, sim->faults_end_ns + QUIET_NS, sim_settled) && sim->failure[0] == '\0') {
        sim_describe_open(sim, 20);
        sim_check_stuck(sim);
    }
    if (sim->failure[0] == '\0')
        sim_check_end(sim);
    return sim->failure[0] == '\0';
}
