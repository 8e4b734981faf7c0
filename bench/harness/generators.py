"""The load generators behind one interface: torc-bench, redis-benchmark and its Valkey twin, memtier_benchmark.

Each runs as a child on given cores, bounded in time, and reports what it measured in the same units. Where the
tools count in requests rather than seconds, a rate from a short probe turns one into the other.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.scenarios import MEMTIER_KEY_BASE, Scenario

#: A child may take this many times the time it was asked for, plus a constant for start and drain.
OVERRUN_FACTOR, OVERRUN_S = 5, 60
PROBE_REQUESTS = {"small": 40_000, "large": 2_000}
LARGE_VALUE_BYTES = 16 * 1024


class GeneratorError(Exception):
    """A generator that failed; the text says what it printed."""


@dataclass
class Load:
    """What a generator measured. Latencies in microseconds."""

    operations: int
    seconds: float
    latency_us: dict[str, float]
    errors: int = 0
    nulls: int = 0
    first_error: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    pauses: list[dict] = field(default_factory=list)
    slow_replies: int = 0

    @property
    def rate(self) -> float:
        return self.operations / self.seconds if self.seconds > 0 else 0.0


@dataclass
class Child:
    stdout: str
    stderr: str
    returncode: int
    cpu_s: float
    wall_s: float


def run_child(arguments: list[str], cores: list[int], limit_s: float) -> Child:
    """Runs one generator to its end; its CPU time is what this process's reaped children gained meanwhile."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            child.wait(limit_s)
        except BaseException as error:
            child.kill()
            child.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                name = Path(arguments[0]).name
                raise GeneratorError(f"{name} did not end within {limit_s:.0f} s") from error
            raise
        wall_s = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
        out.seek(0)
        err.seek(0)
        return Child(out.read(), err.read(), child.returncode, cpu_s, wall_s)


class TorcBench:
    """This repository's generator: any mix, Zipf, exact percentiles, pauses."""

    name = "torc-bench"

    def __init__(self, binary: str):
        self.binary = binary
        self.version = "torc-bench of this commit"

    def can(self, _scenario: Scenario) -> bool:
        return True

    def run(self, scenario: Scenario, target: str, port: int, cores: list[int], seconds: float) -> Load:
        return self.load(
            port,
            cores,
            operations=scenario.operations,
            connections=scenario.connections,
            pipeline=scenario.pipeline,
            keys=scenario.keys,
            seconds=seconds,
        )

    def load(
        self,
        port: int,
        cores: list[int],
        *,
        operations: list[tuple[int, str]],
        connections: int,
        pipeline: int,
        keys: int,
        seconds: float | None = None,
        requests: int | None = None,
        slow_us: int | None = None,
        watch_pid: int | None = None,
        limit_s: float | None = None,
    ) -> Load:
        arguments = [self.binary, "load", "--port", str(port), "--connections", str(connections)]
        arguments += ["--pipeline", str(pipeline), "--keys", str(keys)]
        arguments += ["--seed", str(time.monotonic_ns() % 1_000_003 + 1)]
        arguments += ["--seconds", str(seconds)] if requests is None else ["--requests", str(requests)]
        if slow_us is not None:
            arguments += ["--slow-us", str(slow_us)]
        if watch_pid is not None:
            arguments += ["--watch", str(watch_pid)]
        for weight, command in operations:
            arguments += ["--op", str(weight), command]
        child = run_child(arguments, cores, limit_s or (seconds or 0) * OVERRUN_FACTOR + OVERRUN_S)
        if child.returncode != 0:
            raise GeneratorError(f"torc-bench: {child.stderr.strip()[:500]}")
        report = json.loads(child.stdout)
        return Load(
            operations=report["operations"],
            seconds=report["seconds"],
            latency_us=report["latency_us"],
            errors=report["errors"],
            nulls=report["nulls"],
            first_error=report.get("first_error", ""),
            cpu_s=child.cpu_s,
            wall_s=child.wall_s,
            pauses=report.get("pauses", []),
            slow_replies=report.get("slow_replies", 0),
        )


class CountingTool:
    """Common to the tools that take a number of requests: remembers the rate per scenario and server."""

    def __init__(self) -> None:
        self.rates: dict[tuple[str, str], float] = {}

    def run(self, scenario: Scenario, target: str, port: int, cores: list[int], seconds: float) -> Load:
        place = (scenario.name, target)
        if place not in self.rates:
            size = "large" if scenario.value_bytes >= LARGE_VALUE_BYTES else "small"
            requests = max(PROBE_REQUESTS[size], scenario.connections * scenario.pipeline * 4)
            self.rates[place] = self.run_requests(scenario, port, cores, requests, 0).rate
        requests = max(int(self.rates[place] * seconds), scenario.connections * scenario.pipeline)
        load = self.run_requests(scenario, port, cores, requests, seconds)
        self.rates[place] = load.rate
        return load

    def run_requests(
        self, scenario: Scenario, port: int, cores: list[int], requests: int, seconds: float
    ) -> Load:
        raise NotImplementedError


class RedisBenchmark(CountingTool):
    """redis-benchmark or valkey-benchmark. p99.9 is its percentile line at 99.902 %."""

    def __init__(self, binary: str):
        super().__init__()
        self.binary = binary
        self.name = "valkey-benchmark" if "valkey" in Path(binary).name else "redis-benchmark"
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
        self.version = done.stdout.strip() or self.name

    def can(self, scenario: Scenario) -> bool:
        return len(scenario.operations) == 1 and not re.search("__(zipf|ms|seq)__", scenario.operations[0][1])

    def run_requests(
        self, scenario: Scenario, port: int, cores: list[int], requests: int, seconds: float
    ) -> Load:
        arguments = [self.binary, "-h", "127.0.0.1", "-p", str(port), "-n", str(requests)]
        arguments += ["-c", str(scenario.connections), "-P", str(scenario.pipeline)]
        arguments += ["-r", str(scenario.keys), "--precision", "3"]
        arguments += [self._word(word) for word in scenario.operations[0][1].split()]
        child = run_child(arguments, cores, seconds * OVERRUN_FACTOR + OVERRUN_S)
        text = child.stdout.replace("\r", "\n")
        if child.returncode != 0 or "throughput summary" not in text:
            raise GeneratorError(f"{self.name}: {(child.stderr or text).strip()[-500:]}")
        return self._parse(text, child)

    @staticmethod
    def _word(word: str) -> str:
        return "x" * int(word[1:]) if word.startswith("@") else word

    @staticmethod
    def _parse(text: str, child: Child) -> Load:
        rate = float(re.search(r"throughput summary: ([\d.]+) requests", text)[1])
        operations = int(re.search(r"(\d+) requests completed in", text)[1])
        mean, minimum, p50, _p95, p99, maximum = (
            float(value) * 1000 for value in re.search(r"p99 +max\n((?: +[\d.]+){6})", text)[1].split()
        )
        distribution = text.partition("Latency by percentile distribution:")[2].partition("Cumulative")[0]
        lines = re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds", distribution)
        p999 = next((float(ms) * 1000 for percent, ms in lines if float(percent) >= 99.9), maximum)
        error = re.search(r"Error from server: (.*)", text + child.stderr)
        return Load(
            operations=operations,
            seconds=operations / rate,
            latency_us={"mean": mean, "min": minimum, "p50": p50, "p99": p99, "p99.9": p999, "max": maximum},
            errors=1 if error else 0,
            first_error=error[1].strip() if error else "",
            cpu_s=child.cpu_s,
            wall_s=child.wall_s,
        )


class Memtier:
    """memtier_benchmark with one thread. Its keys are unpadded numbers: see `MEMTIER_KEY_BASE`."""

    name = "memtier_benchmark"

    def __init__(self, binary: str):
        self.binary = binary
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
        self.version = (done.stdout.splitlines() or [self.name])[0]

    def can(self, scenario: Scenario) -> bool:
        """One command with one random key; its data must be the set that memtier's key names reach."""
        if len(scenario.operations) != 1 or scenario.dataset != "small":
            return False
        return scenario.operations[0][1].count("__rand_int__") == 1

    def run(self, scenario: Scenario, target: str, port: int, cores: list[int], seconds: float) -> Load:
        verb, _key, *rest = scenario.operations[0][1].split()
        command = " ".join([verb, "__key__", *("__data__" if word.startswith("@") else word for word in rest)])
        with tempfile.TemporaryDirectory(prefix="torc-bench-") as directory:
            report_path = Path(directory, "report.json")
            arguments = [self.binary, "-s", "127.0.0.1", "-p", str(port), "-t", "1"]
            arguments += ["-c", str(scenario.connections), "--pipeline", str(scenario.pipeline)]
            arguments += ["--test-time", str(max(1, round(seconds))), "--hide-histogram"]
            arguments += ["--command", command, "--command-key-pattern", "R", "--key-prefix", "key:"]
            arguments += ["--key-minimum", str(MEMTIER_KEY_BASE)]
            arguments += ["--key-maximum", str(MEMTIER_KEY_BASE + scenario.keys - 1)]
            arguments += ["-d", str(scenario.value_bytes), "--print-percentiles", "50,99,99.9"]
            arguments += ["--json-out-file", str(report_path)]
            child = run_child(arguments, cores, seconds * OVERRUN_FACTOR + OVERRUN_S)
            if child.returncode != 0 or not report_path.exists():
                raise GeneratorError(f"memtier_benchmark: {child.stderr.strip()[-500:]}")
            report = json.loads(report_path.read_text())["ALL STATS"]
        totals, percentiles = report["Totals"], report["Totals"]["Percentile Latencies"]
        latency_ms = {
            "mean": totals["Average Latency"],
            "min": totals["Min Latency"],
            "p50": percentiles["p50.00"],
            "p99": percentiles["p99.00"],
            "p99.9": percentiles["p99.90"],
            "max": totals["Max Latency"],
        }
        return Load(
            operations=totals["Count"],
            seconds=report["Runtime"]["Total duration"] / 1000,
            latency_us={name: value * 1000 for name, value in latency_ms.items()},
            cpu_s=child.cpu_s,
            wall_s=child.wall_s,
        )


Generator = TorcBench | RedisBenchmark | Memtier


def external(binary: str) -> RedisBenchmark | Memtier:
    """The generator that was given, by its name."""
    path = shutil.which(binary)
    if path is None:
        raise GeneratorError(f"no executable '{Path(binary).name}'")
    return Memtier(path) if "memtier" in Path(path).name else RedisBenchmark(path)
