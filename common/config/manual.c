/* docs/topology.md, from the option table. */
#include <config/options.h>
#include <string.h>

static const char introduction[] =
    "# The topology file\n"
    "\n"
    "One YAML file is the truth for every process of a topology. This page is made from the table\n"
    "that the reader itself works with; `weir check FILE` tells everything that is wrong with a\n"
    "file, with line and column, and what looks unwise.\n"
    "\n"
    "```yaml\n"
    "topology: signup\n"
    "nodes:\n"
    "  intake:\n"
    "    role: ventilator\n"
    "    submit:   tcp://127.0.0.1:7400      # producers connect here\n"
    "    dispatch: tcp://127.0.0.1:7401      # routers (or workers) connect here\n"
    "    spool: { dir: var/signup/intake, fsync: always, max: 4GiB }\n"
    "    dead-letters: dlq\n"
    "    groups:\n"
    "      email: { topics: [user.signed_up], attempts: 5, timeout: 30s }\n"
    "  hub:     { role: router, from: [intake], dispatch: tcp://127.0.0.1:7402 }\n"
    "  email:   { role: worker, from: [hub], group: email, to: results, run: [./send_email.sh] }\n"
    "  results: { role: sink, submit: tcp://127.0.0.1:7403, write: { jsonl: var/signup/out.jsonl } "
    "}\n"
    "  dlq:     { role: dlq,  submit: tcp://127.0.0.1:7404, store: var/signup/dlq.db }\n"
    "```\n"
    "\n"
    "Wires (`from`, `to`, `dead-letters`) name nodes; an address is written once, where it is "
    "bound.\n"
    "Paths of spools, sinks, ledgers and collectors start at the working directory. An anchor\n"
    "(`&name`) may stand for a repeated value (`*name`). What is unknown or invalid is an error:\n"
    "nothing is started with a default in its place.\n"
    "\n"
    "## Values\n"
    "\n"
    "| what | how it is written |\n"
    "|---|---|\n"
    "| duration | a whole number and `ms`, `s`, `m`, `h` or `d`: `1500ms`, `30s`, `2h` |\n"
    "| size | a whole number and `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `KB`, `MB`, "
    "`GB`, `TB` (powers of 1000) |\n"
    "| rate | messages and `/s`, `/m` or `/h`: `200/s`, `10/m` |\n"
    "| name | 1 to 63 letters, digits, `_`, `-`, `.` |\n"
    "| topic | words of letters, digits, `_`, `-`, joined by dots: `user.signed_up` |\n"
    "| pattern | a topic in which `*` stands for one word, and a final `>` for one or more |\n"
    "| endpoint | `tcp://ADDRESS:PORT` with a numeric address (or `localhost`), or `ipc://PATH` |\n"
    "| list | `[a, b]`, or one `- a` a line; one value alone counts as a list of one |\n";

static void write_roles(uint32_t roles, FILE *out)
{
    bool first = true;

    if (roles == (1u << WEIR_ROLE_COUNT) - 1) {
        fputs("all", out);
        return;
    }
    for (int role = 0; role < WEIR_ROLE_COUNT; role++) {
        if ((roles & (1u << role)) == 0)
            continue;
        fprintf(out, "%s%s", first ? "" : ", ", weir_role_name(role));
        first = false;
    }
}

static void write_option(const struct weir_option *option, bool of_node, FILE *out)
{
    char value[256];

    weir_option_describe(option, value, sizeof value);
    fprintf(out, "| `%s` | ", option->name);
    if (of_node) {
        write_roles(option->roles, out);
        fputs(" | ", out);
    }
    fprintf(out, "%s | ", value);
    if (option->required)
        fputs("required", out);
    else if (option->fallback != NULL)
        fprintf(out, "`%s`", option->fallback);
    fprintf(out, " | %s |\n", option->text);
}

static void write_section(const char *title, const struct weir_section *section, FILE *out)
{
    bool of_node = section == &weir_section_node;

    fprintf(out, "\n## %s\n\n", title);
    if (section->text[0] != '\0')
        fprintf(out, "%s\n\n", section->text);
    fprintf(out, "| option |%s value | default | meaning |\n|---|%s---|---|---|\n",
            of_node ? " of |" : "", of_node ? "---|" : "");
    for (const struct weir_option *option = section->options; option->name != NULL; option++)
        write_option(option, of_node, out);
}

void weir_topology_manual(FILE *out)
{
    fputs(introduction, out);
    write_section("The file", &weir_section_topology, out);
    write_section("A node", &weir_section_node, out);
    write_section("`spool` of a ventilator", &weir_section_spool, out);
    write_section("`idempotency` of a ventilator", &weir_section_idempotency, out);
    write_section("A group", &weir_section_group, out);
    write_section("`backoff` of a group", &weir_section_backoff, out);
    write_section("`write` of a sink", &weir_section_write, out);
}
