"""Runs the steady loads: servers in turn, round after round, and reduces the rounds to medians and ratios."""

import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness import machine
from harness.generators import Generator, GeneratorError, Load, TorcBench
from harness.scenarios import DATASETS, Scenario
from harness.servers import Instance, Server, ServerError, free_port

WARM_UP_SHARE = 0.2
#: From this share on a core counts as saturated.
SATURATED = 0.95
#: Compared as torc : peer.
COMPARED = ["throughput", "p50", "p99", "p99.9", "cpu"]


class Fleet:
    """All server processes of a run. At most one of them is awake at a time."""

    def __init__(self, servers: dict[str, Server], cores: list[int], own: TorcBench, port_base: int | None):
        self.servers = servers
        self.cores = cores
        self.own = own
        self.next_port = port_base
        self.shrink = 1
        self.instances: dict[str, Instance] = {}

    def has(self, label: str) -> bool:
        return re.split("[/+]", label)[0] in self.servers

    def server_cores(self, label: str) -> list[int]:
        return self.cores[:1] if "/" not in label else self.cores[:2]

    def generator_cores(self, label: str) -> list[int]:
        return self.cores[1:2] if "/" not in label else self.cores[:2]

    def awake(self, label: str, dataset: str = "none") -> Instance:
        """The server, started and loaded if need be, with all others paused."""
        for other in self.instances.values():
            other.pause()
        instance = self.instances.get(label)
        if instance is not None and not instance.alive():
            instance.end()
            instance = None
        if instance is None:
            instance = self._new(label)
            instance.start()
            self.instances[label] = instance
        instance.resume()
        if dataset not in instance.loaded:
            self._fill(instance, dataset)
        return instance

    @contextmanager
    def fresh(self, label: str) -> Iterator[Instance]:
        """An empty server of its own, ended at the end; all others are paused meanwhile."""
        for other in self.instances.values():
            other.pause()
        instance = self._new(label)
        instance.start()
        try:
            yield instance
        finally:
            instance.end()

    def obituary(self, label: str) -> str:
        """What a server that ended by itself last said; empty while it lives."""
        instance = self.instances.get(label)
        return "" if instance is None or instance.alive() else f"; it had ended: {instance.last_words()}"

    def end(self) -> None:
        for instance in self.instances.values():
            instance.end()
        self.instances.clear()

    def _new(self, label: str) -> Instance:
        name, _, policy = label.partition("+")
        name, _, shards = name.partition("/")
        if self.next_port is None:
            port = free_port()
        else:
            port, self.next_port = self.next_port, self.next_port + 1
        return Instance(self.servers[name], int(shards or 1), self.server_cores(label), port, policy)

    def _fill(self, instance: Instance, dataset: str) -> None:
        command, keys = DATASETS[dataset]
        instance.loaded.add(dataset)
        if keys == 0:
            return
        keys = max(100, keys // self.shrink)
        load = self.own.load(
            instance.port,
            self.generator_cores(instance.label),
            operations=[(1, command)],
            connections=4,
            pipeline=32,
            keys=keys,
            requests=keys,
        )
        if load.errors:
            raise ServerError(f"{instance.label}: loading '{dataset}' failed: {load.first_error}")


@dataclass
class Series:
    """One scenario under one generator: the runs of each server, in rounds."""

    scenario: Scenario
    generator: str
    runs: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    #: Servers that failed or answered errors; their numbers are left out.
    broken: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return f"{self.scenario.name} ({self.generator})"

    def medians(self) -> dict[str, dict[str, float]]:
        return {
            label: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            for label, runs in self.runs.items()
            if runs
        }

    def ratio(self, label: str, peer: str, measure: str) -> dict[str, float] | None:
        """label : peer of the medians, with the least and greatest ratio of the single rounds."""
        medians = self.medians()
        if label not in medians or peer not in medians or not medians[peer][measure]:
            return None
        pairs = zip(self.runs[label], self.runs[peer], strict=False)
        rounds = [run[measure] / other[measure] for run, other in pairs if other[measure]]
        median = medians[label][measure] / medians[peer][measure]
        return {"median": median, "least": min(rounds, default=median), "greatest": max(rounds, default=median)}

    def generator_saturated(self, label: str) -> bool:
        return self.medians()[label]["generator_core_busy"] >= SATURATED

    def server_saturated(self, label: str) -> bool:
        return self.medians()[label]["server_busy"] >= SATURATED


def run_series(
    fleet: Fleet,
    scenario: Scenario,
    generator: Generator,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> Series:
    """ABCABC...: every round runs each server once. A server that fails is left out and named."""
    series = Series(scenario, generator.name)
    labels = [label for label in scenario.instances if fleet.has(label)]
    for _ in range(rounds):
        for label in [label for label in labels if label not in series.broken]:
            try:
                run = measure(fleet, label, scenario, generator, seconds, series)
            except (GeneratorError, ServerError, OSError) as error:
                series.broken.add(label)
                series.runs.pop(label, None)
                text = " ".join(str(error).split())
                series.warnings.append(f"{series.name}: {label} failed: {text}{fleet.obituary(label)}")
                progress(series.warnings[-1])
                continue
            series.runs.setdefault(label, []).append(run)
            progress(
                f"{series.name:34} {label:9} {run['throughput']:>10,.0f}/s  p99 {run['p99']:>8,.0f} us  "
                f"cpu {run['cpu']:.3f} us/op  busy: server {run['server_busy']:.0%}, "
                f"generator core {run['generator_core_busy']:.0%}"
            )
    return series


def measure(
    fleet: Fleet, label: str, scenario: Scenario, generator: Generator, seconds: float, series: Series
) -> dict[str, float]:
    """One warmed-up run of one server. All shares are of one core's time."""
    dataset = "small-memtier" if generator.name == "memtier_benchmark" else scenario.dataset
    instance = fleet.awake(label, dataset)
    server_cores, generator_cores = fleet.server_cores(label), fleet.generator_cores(label)
    generator.run(scenario, label, instance.port, generator_cores, seconds * WARM_UP_SHARE)

    cores_before, cpu_before, start = machine.core_times(), machine.process_cpu(instance.pid), time.monotonic()
    load = generator.run(scenario, label, instance.port, generator_cores, seconds)
    cpu_after, cores_after, wall_s = machine.process_cpu(instance.pid), machine.core_times(), time.monotonic() - start

    _check(load, scenario, label, series)
    server_s = cpu_after.total - cpu_before.total
    user_s, system_s = cpu_after.user - cpu_before.user, cpu_after.system - cpu_before.system

    def busy(cores: list[int]) -> float:
        return sum(cores_after[core].busy - cores_before[core].busy for core in cores)

    used = sorted({*server_cores, *generator_cores})
    return {
        "throughput": load.rate,
        "p50": load.latency_us["p50"],
        "p99": load.latency_us["p99"],
        "p99.9": load.latency_us["p99.9"],
        "max": load.latency_us["max"],
        "mean": load.latency_us["mean"],
        "cpu": server_s * 1e6 / load.operations,
        "user_share": user_s / (user_s + system_s) if user_s + system_s else 0.0,
        "server_busy": server_s / wall_s,
        "generator_busy": load.cpu_s / load.wall_s,
        "generator_core_busy": busy(generator_cores) / len(generator_cores) / wall_s,
        "foreign": max(0.0, busy(used) - server_s - load.cpu_s) / len(used) / wall_s,
        "steal": sum(cores_after[core].steal - cores_before[core].steal for core in used) / len(used) / wall_s,
        "operations": float(load.operations),
    }


def _check(load: Load, scenario: Scenario, label: str, series: Series) -> None:
    """Replies that are errors, or misses where every key exists, measure something else than was asked for."""
    if load.errors:
        raise ServerError(f"answered errors: {load.first_error[:120]}")
    if scenario.dataset != "none" and load.nulls and not scenario.nulls:
        series.warnings.append(f"{series.name}: {label} missed {load.nulls} keys that were loaded")
