"""The performance targets of one shard on one core, and whether the measured ratios reach them."""

from dataclasses import dataclass

from harness.runner import Series
from harness.scenarios import TYPES

#: Scenario, measure, bound, peer -> limit. `>=` for throughput, `<=` for cost.
RATIO_TARGETS = [
    (("get-p16", "set-p16"), "throughput", ">=", {"valkey": 2.0, "redis": 2.8}),
    (("get-p1", "set-p1"), "cpu", "<=", {"valkey": 0.75, "redis": 0.65}),
    (("mget10-p1", "mset10-p1", "mget10-p16", "mset10-p16"), "throughput", ">=", {"valkey": 1.5}),
    (tuple(scenario.name for scenario in TYPES), "throughput", ">=", {"valkey": 1.5}),
    (("forward-get-p1", "forward-set-p1"), "cpu", "<=", {"torc": 1.40}),
    (("forward-get-p16", "forward-set-p16"), "cpu", "<=", {"torc": 1.30}),
    (("log-set-p16",), "throughput", ">=", {"torc": 0.88}),
    (("log-set-always",), "throughput", ">=", {"valkey+always": 1.5}),
]
#: The instance that a section is about, where it is not plain torc.
LABELS = {"forward": "torc/2", "two": "torc/2", "everysec": "torc+everysec", "always": "torc+always"}
BYTES_PER_KEY_MAX = 118.0
SERVER_PAUSE_MS_MAX = 2.0
IDLE_CPU_MAX = 0.01


@dataclass
class Verdict:
    """One target and how it was met. `note` says what qualifies the number."""

    target: str
    limit: str
    measured: str
    met: bool
    note: str = ""

    @property
    def word(self) -> str:
        return "PASS" if self.met else "MISS"


def evaluate(series: list[Series], probes: dict[str, dict]) -> list[Verdict]:
    """A verdict for each target whose scenario was run with a server called torc and the peer."""
    verdicts = []
    for names, measure, bound, limits in RATIO_TARGETS:
        for one in series:
            if one.scenario.name in names:
                for peer, limit in limits.items():
                    verdicts += _ratio_verdict(one, measure, bound, peer, limit)
    verdicts += _elements(probes.get("elements", {}))
    return verdicts + _memory(probes.get("memory", {})) + _growth(probes.get("growth", {})) + _idle(
        probes.get("idle", {})
    )


def _ratio_verdict(series: Series, measure: str, bound: str, peer: str, limit: float) -> list[Verdict]:
    label = LABELS.get(series.scenario.section, "torc")
    ratio = series.ratio(label, peer, measure)
    if ratio is None:
        return []
    met = ratio["median"] >= limit if bound == ">=" else ratio["median"] <= limit
    note = f"rounds {ratio['least']:.2f}-{ratio['greatest']:.2f}"
    if measure == "throughput" and series.generator_saturated(label):
        cpu = series.ratio(peer, label, "cpu")
        note += f"; generator saturated, so a lower bound: by CPU per op {cpu['median']:.2f}x" if cpu else ""
    what = "throughput" if measure == "throughput" else "server CPU per op"
    target = f"{series.name}: {what}, {label} : {peer}"
    return [Verdict(target, f"{bound} {limit:.2f}x", f"{ratio['median']:.2f}x", met, note)]


def _elements(results: dict) -> list[Verdict]:
    verdicts = []
    for kind, row in results.items():
        if "torc" in row and "valkey" in row:
            limit = f"<= valkey's {row['valkey']:.1f} B"
            met = row["torc"] <= row["valkey"]
            verdicts.append(Verdict(f"bytes per element: {kind}", limit, f"{row['torc']:.1f} B", met))
    return verdicts


def _memory(results: dict) -> list[Verdict]:
    if "torc" not in results:
        return []
    measured = results["torc"]["rss_bytes_per_key"]
    others = ", ".join(f"{k} {v['rss_bytes_per_key']:.0f}" for k, v in results.items() if k != "torc")
    limit = f"<= {BYTES_PER_KEY_MAX:.0f} B"
    return [Verdict("bytes per key by RSS", limit, f"{measured:.1f} B", measured <= BYTES_PER_KEY_MAX, others)]


def _growth(results: dict) -> list[Verdict]:
    """What ran on the server's core is its fault. What neither ran nor waited (a lost wake-up, or a core taken by the
    hypervisor) counts only beyond what the idle echo shows on the same machine."""
    if "torc" not in results:
        return []
    torc, control = results["torc"]["median"], results["control"]["median"]
    on_core, unexplained = torc["longest_on_core_ms"], torc["longest_server_ms"]
    met = on_core <= SERVER_PAUSE_MS_MAX and unexplained <= max(SERVER_PAUSE_MS_MAX, control["longest_server_ms"])
    others = [f"{k} {v['median']['longest_on_core_ms']:.1f}" for k, v in results.items() if k not in ("torc", "control")]
    note = (
        f"not explained by waiting {unexplained:.1f} ms (echo {control['longest_server_ms']:.1f} ms); "
        f"on core: {', '.join(others) or 'no peer'}"
    )
    limit = f"<= {SERVER_PAUSE_MS_MAX:.0f} ms"
    return [Verdict("longest server-caused pause, growing", limit, f"{on_core:.1f} ms", met, note)]


def _idle(results: dict) -> list[Verdict]:
    return [
        Verdict(
            f"idle CPU of {label}, 16 connections",
            f"< {IDLE_CPU_MAX:.0%}",
            f"{result['cpu_share']:.2%}",
            result["cpu_share"] < IDLE_CPU_MAX,
        )
        for label, result in results.items()
        if label.startswith("torc")
    ]
