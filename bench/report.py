"""Makes of the runs what people read: medians with their spread, a table, and gnuplot's input for the chart."""

import statistics

WEIR_COLOUR, DURABLE_COLOUR, PALE_COLOUR = "0x1f77b4", "0x4d4d4d", "0xbdbdbd"

def outcome(size, machine, entrants, runs):
    """Each entrant gets its median, least and most, and how many times as fast Weir is in the same comparison."""
    rows = []
    for entrant in entrants:
        figures = [run["msgs_per_s"] for run in runs if run["name"] == entrant["name"]]
        rows.append({**entrant, "msgs_per_s": statistics.median(figures), "least": min(figures), "most": max(figures)})
    weir = next((row["msgs_per_s"] for row in rows if row["name"] == "weir"), None)
    for row in rows:
        row["weir_is_times"] = weir / row["msgs_per_s"] if weir else None
    return {"size": size, "rounds": max(run["round"] for run in runs), "machine": machine, "entrants": rows, "runs": runs}


def title(outcome):
    rounds = "1 round" if outcome["rounds"] == 1 else f"the median of {outcome['rounds']} rounds"
    return f"{outcome['size']} bytes, one producer, one consumer, {rounds}"


def place(machine):
    return (f"{machine['cores']} cores of {machine['processor']}, Linux {machine['kernel']}, {machine['filesystem']}, "
            f"a bare fdatasync of 4 KiB takes {machine['fdatasync_us']} µs")


def times(row):
    if row["weir_is_times"] is None or row["name"] == "weir":
        return ""
    return f"{row['weir_is_times']:.2f}" if row["weir_is_times"] < 10 else f"{row['weir_is_times']:,.0f}"


def table(outcome):
    """Markdown that a terminal can show, too."""
    lines = [["", "msgs/s", "least – most", "Weir is × as fast", "messages a round", "a confirmed message is on disk"]]
    for row in outcome["entrants"]:
        lines.append([row["label"], f"{row['msgs_per_s']:,.0f}", f"{row['least']:,.0f} – {row['most']:,.0f}", times(row),
                      f"{row['messages']:,}", f"{'yes' if row['durable'] else '**no**'}: {row['durability']}"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    numbers = range(1, 5)
    lines.insert(1, [("-" * (width - 1) + ":") if column in numbers else "-" * width for column, width in enumerate(widths)])
    text = [title(outcome) + "; " + place(outcome["machine"]), ""]
    for line in lines:
        cells = [cell.rjust(width) if column in numbers else cell.ljust(width)
                 for column, (cell, width) in enumerate(zip(line, widths))]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def gnuplot(outcome, path):
    """Bars on a logarithmic scale, the first entrant at the top."""
    rows = outcome["entrants"][::-1]
    begin = 10 ** (len(str(int(min(row["least"] for row in rows)))) - 1) / 2
    end = max(row["most"] for row in rows) * 8  # room for the figure behind the longest bar
    labels = ", ".join(f'"{row["label"]}" {at}' for at, row in enumerate(rows))
    data = []
    for at, row in enumerate(rows):
        colour = WEIR_COLOUR if row["name"] == "weir" else DURABLE_COLOUR if row["durable"] else PALE_COLOUR
        data.append(f'{at} {row["msgs_per_s"]:.0f} {row["least"]:.0f} {row["most"]:.0f} {colour} "{row["msgs_per_s"]:,.0f}"')
    return f"""set terminal pngcairo size 1100,{170 + 58 * len(rows)} font "sans,12" noenhanced
set output "{path}"
set label 1 "Messages a second, confirmed and acknowledged" at screen 0.02, graph 1 offset 0, 4 font "sans,15"
set label 2 "{title(outcome)}, {outcome['machine']['cores']} cores; with the least and the most of all rounds" at screen 0.02, graph 1 offset 0, 2.4
set label 3 "pale: confirmed before it is on disk, or not at all" at screen 0.02, graph 1 offset 0, 1 textcolor rgb "#8c8c8c"
set tmargin 6
set logscale x
set xrange [{begin:.0f}:{end:.0f}]
set yrange [-0.6:{len(rows) - 0.4:.1f}]
set ytics ({labels}) nomirror scale 0
set xtics nomirror format "%.0s%c" scale 0
unset mxtics
set xlabel "logarithmic"
set grid xtics
set border 1
unset key
set style fill solid noborder
$data << END
{chr(10).join(data)}
END
plot $data using 2:1:({begin:.0f}):2:($1-0.32):($1+0.32):5 with boxxyerror linecolor rgb variable, \\
     $data using 2:1:3:4 with xerrorbars linecolor rgb "black" pointtype 0, \\
     $data using ($4*1.1):1:6 with labels left
"""
