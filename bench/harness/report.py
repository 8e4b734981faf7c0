"""Turns the results into Markdown (for readers and the terminal) and JSON (for programs)."""

import re

from harness.runner import COMPARED, Series
from harness.targets import LABELS, Verdict

SECTIONS = [
    ("one", "One shard, one core", "Server on one core, generator on the other."),
    (
        "forward",
        "Forwarding: two shards against one",
        "`torc/2` has two shards on both cores, half of the keys foreign, and shares the cores with the generator; "
        "`torc` has one shard on a core of its own.",
    ),
    ("everysec", "With an append-only file, appendfsync everysec", "One shard, one core; the file lies on the machine's disk."),
    ("always", "With an append-only file, appendfsync always", "50 connections; the file lies on the machine's disk."),
    ("two", "Two cores", "torc with two shards and Valkey with two io threads; the generator shares both cores."),
]
FOREIGN_WARNING = 0.05
STEAL_WARNING = 0.02
NUMBER = re.compile(r"(>= |<= |< )?[\d.,]+ ?(x|%|ms|B)?|-|")


def warnings(series: list[Series]) -> list[str]:
    """What a reader must know before believing a number."""
    found = [warning for one in series for warning in dict.fromkeys(one.warnings)]
    for one in series:
        foreign = max((median["foreign"] for median in one.medians().values()), default=0.0)
        if foreign > FOREIGN_WARNING:
            found.append(f"{one.name}: other processes used up to {foreign:.0%} of the cores")
        steal = max((median["steal"] for median in one.medians().values()), default=0.0)
        if steal > STEAL_WARNING:
            found.append(f"{one.name}: the hypervisor took up to {steal:.0%} of the cores")
    return found


def to_json(description: dict, series: list[Series], probes: dict, verdicts: list[Verdict]) -> dict:
    return {
        **description,
        "scenarios": [_series_json(one) for one in series],
        "probes": probes,
        "targets": [{**vars(verdict), "verdict": verdict.word} for verdict in verdicts],
        "warnings": description["warnings"] + warnings(series),
    }


def to_markdown(description: dict, series: list[Series], probes: dict, verdicts: list[Verdict]) -> str:
    parts = ["# torc and its peers", "", *_description(description), "", "## Targets", "", *_targets(verdicts)]
    for section, title, text in SECTIONS:
        chosen = [one for one in series if one.scenario.section == section and one.runs]
        if chosen:
            parts += ["", f"## {title}", "", text, "", *_medians(chosen), "", *_ratios(chosen)]
    for name, table in (("memory", _memory), ("elements", _elements), ("growth", _growth), ("idle", _idle)):
        if probes.get(name):
            parts += ["", *table(probes[name])]
    notes = description["warnings"] + warnings(series)
    if notes:
        parts += ["", "## Warnings", "", *(f"- {note}" for note in notes)]
    return "\n".join(parts) + "\n"


def _series_json(series: Series) -> dict:
    scenario = series.scenario
    pairs = _pairs(series)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "generator": series.generator,
        "operations": [{"weight": weight, "command": command} for weight, command in scenario.operations],
        "connections": scenario.connections,
        "pipeline": scenario.pipeline,
        "keys": scenario.keys,
        "section": scenario.section,
        "medians": series.medians(),
        "ratios": {
            f"{label} : {peer}": {measure: series.ratio(label, peer, measure) for measure in COMPARED}
            for label, peer in pairs
        },
        "rounds": series.runs,
    }


def _pairs(series: Series) -> list[tuple[str, str]]:
    label = LABELS.get(series.scenario.section, "torc")
    return [(label, peer) for peer in series.runs if peer != label and label in series.runs]


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table with its columns padded, so that it also reads well in a terminal."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    numeric = [all(NUMBER.fullmatch(row[i]) for row in rows) and any(row[i] for row in rows) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * (width - 1) + ":") if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return [line(header), line(rule), *(line(row) for row in rows)]


def _description(description: dict) -> list[str]:
    lines = [f"- {key}: {value}" for key, value in description["machine"].items()]
    lines += [f"- {name}: {version}" for name, version in description["servers"].items()]
    lines += [f"- generators: {'; '.join(description['generators'])}"]
    lines += [f"- {description['rounds']} rounds of {description['seconds']} s, servers in turn; medians"]
    lines += [f"- command line: `{description['command_line']}`"]
    return lines


def _targets(verdicts: list[Verdict]) -> list[str]:
    if not verdicts:
        return ["No target could be judged: neither torc nor its peers ran the scenarios."]
    rows = [[verdict.word, verdict.target, verdict.limit, verdict.measured, verdict.note] for verdict in verdicts]
    return _table(["", "target", "limit", "measured", "note"], rows)


def _medians(chosen: list[Series]) -> list[str]:
    header = ["scenario", "driven by", "server", "ops/s", "p50 us", "p99 us", "p99.9 us", "CPU us/op"]
    header += ["server busy", "generator core busy", "foreign", "generator"]
    rows = []
    for one in chosen:
        for label, median in one.medians().items():
            row = [one.scenario.name, one.generator, label, f"{median['throughput']:,.0f}"]
            row += [f"{median[key]:,.0f}" for key in ("p50", "p99", "p99.9")]
            row += [f"{median['cpu']:.3f}", f"{median['server_busy']:.0%}"]
            row += [f"{median['generator_core_busy']:.0%}", f"{median['foreign']:.0%}"]
            row += ["saturated" if one.generator_saturated(label) else ""]
            rows.append(row)
    return _table(header, rows)


def _ratios(chosen: list[Series]) -> list[str]:
    header = ["scenario", "driven by", "ratio", "throughput", "rounds", "p50", "p99", "p99.9", "CPU per op", "rounds"]
    rows = []
    for one in chosen:
        for label, peer in _pairs(one):
            ratios = {measure: one.ratio(label, peer, measure) for measure in COMPARED}
            throughput, cpu = ratios["throughput"], ratios["cpu"]
            if throughput is None or cpu is None:
                continue
            bound = ">= " if one.generator_saturated(label) else ""
            row = [one.scenario.name, one.generator, f"{label} : {peer}", f"{bound}{throughput['median']:.2f}x"]
            row += [f"{throughput['least']:.2f}-{throughput['greatest']:.2f}"]
            row += [f"{ratios[key]['median']:.2f}x" if ratios[key] else "-" for key in ("p50", "p99", "p99.9")]
            row += [f"{cpu['median']:.2f}x", f"{cpu['least']:.2f}-{cpu['greatest']:.2f}"]
            rows.append(row)
    return _table(header, rows) if rows else ["No peer to compare with."]


def _elements(results: dict) -> list[str]:
    labels = list(dict.fromkeys(label for row in results.values() for label in row))
    rows = [[kind, *(f"{row[label]:.1f}" if label in row else "" for label in labels)] for kind, row in results.items()]
    return ["## Bytes per element", "", *_table(["by RSS", *labels], rows)]


def _memory(results: dict) -> list[str]:
    keys = max(result["keys"] for result in results.values())
    rows = [
        [label, f"{r['rss_bytes_per_key']:.1f}", f"{r['info_bytes_per_key']:.1f}", f"{r['fill_per_s']:,.0f}"]
        for label, r in results.items()
    ]
    header = ["server", "bytes per key by RSS", "by INFO used_memory", "fill keys/s"]
    return ["## Bytes per key", "", f"{keys:,} keys of 18 bytes, values of 64 bytes.", "", *_table(header, rows)]


def _growth(results: dict) -> list[str]:
    header = ["server", "keys/s", "p99.9 ms", "longest reply ms", "by the server ms", "on its core ms"]
    header += ["pauses > 1 ms", "by the server > 2 ms", "on its core > 2 ms"]
    keys = ["p99.9_ms", "longest_ms", "longest_server_ms", "longest_on_core_ms"]
    counts = ["pauses_over_1ms", "server_pauses_over_2ms", "on_core_pauses_over_2ms"]
    rows = []
    for label, result in results.items():
        median = result["median"]
        row = [label, f"{median['throughput']:,.0f}", *(f"{median[key]:.2f}" for key in keys)]
        rows.append(row + [f"{median[key]:.0f}" for key in counts])
    text = "`control` is the same load against an echo. By the server: not explained by waiting for a core."
    return ["## Growing from empty", "", text, "", *_table(header, rows)]


def _idle(results: dict) -> list[str]:
    rows = [[label, f"{result['cpu_share']:.3%}"] for label, result in results.items()]
    return ["## Idle, 16 connections", "", *_table(["server", "of one core"], rows)]
