"""Measurements that are not a steady load: bytes per key, the longest pause while growing, CPU when idle."""

import socket
import statistics
import time
from collections.abc import Callable

from harness import machine
from harness.generators import GeneratorError, Load
from harness.runner import Fleet
from harness.scenarios import ELEMENTS, operations_of
from harness.servers import Echo, Instance, ServerError

#: 18 bytes: `bytes:` and twelve digits.
MEMORY_COMMAND, MEMORY_KEYS = "SET bytes:__seq__ @64", 5_000_000
#: Before elements are stored: reads of values that are not there, and writes of one key.
ELEMENTS_WARM_UP = "GET warm:__seq__:of-the-length-of-a-field-and-its-value + SET warm value"
ELEMENTS_WARM_UP_TIMES = 100_000
GROWTH_COMMAND, GROWTH_KEYS = "SET grow:__seq__ @64", 10_000_000
#: Few requests in flight, so that a reply takes well under a millisecond unless someone pauses.
GROWTH_CONNECTIONS, GROWTH_PIPELINE = 4, 16
SLOW_US = 1000
PAUSES_KEPT = 20
LOAD_LIMIT_S = 300
IDLE_CONNECTIONS = 16
REPLY_S_MAX = 5
SETTLE_S = 1.0
SETTLE_TRIES = 10

Progress = Callable[[str], None]


class Probes:
    """Runs the measurements one server at a time; one that fails is named and left out."""

    def __init__(self, fleet: Fleet, progress: Progress):
        self.fleet = fleet
        self.progress = progress
        self.failures: list[str] = []

    def memory(self, labels: list[str]) -> dict[str, dict[str, float]]:
        """Growth of RSS over a fill of distinct keys, per key, on a server of its own; INFO's figure beside it."""
        results = {}
        for label in labels:
            result = self._attempt("memory", label, lambda: _bytes_per_key(self.fleet, label))
            if result:
                results[label] = result
                self.progress(
                    f"{'memory':34} {label:9} {result['rss_bytes_per_key']:.1f} B/key by RSS, "
                    f"{result['info_bytes_per_key']:.1f} by INFO"
                )
        return results

    def elements(self, labels: list[str]) -> dict[str, dict[str, float]]:
        """Growth of RSS over a fill of collections, per element: by kind of collection, then by server."""
        results: dict[str, dict[str, float]] = {}
        for kind, (command, times, elements) in ELEMENTS.items():
            for label in labels:
                fill = lambda: _bytes_per_element(self.fleet, label, command, times, elements)  # noqa: B023
                result = self._attempt("elements", label, fill)
                if result:
                    results.setdefault(kind, {})[label] = result["bytes"]
                    self.progress(f"{kind:34} {label:9} {result['bytes']:.1f} B per element by RSS")
        return results

    def growth(self, labels: list[str], rounds: int) -> dict[str, dict]:
        """Replies slower than 1 ms while filling an empty server, and who caused them; the echo is the control."""
        runs: dict[str, list[dict]] = {label: [] for label in ["control", *labels]}
        for _ in range(rounds):
            for label in list(runs):
                run = self._attempt("growth", label, lambda: _pauses(_grow(self.fleet, label)))
                if run is None:
                    del runs[label]
                    continue
                runs[label].append(run)
                self.progress(_growth_line(label, run))
        if "control" not in runs:
            return {}
        measures = [key for key in runs["control"][0] if key != "worst"]
        return {
            label: {
                "median": {key: statistics.median(run[key] for run in done) for key in measures},
                "least": {key: min(run[key] for run in done) for key in measures},
                "rounds": done,
            }
            for label, done in runs.items()
        }

    def idle(self, labels: list[str], seconds: float) -> dict[str, dict[str, float]]:
        """CPU that a server uses while its connections are open and silent."""
        results = {}
        for label in labels:
            result = self._attempt("idle", label, lambda: _idle_cpu(self.fleet, label, seconds))
            if result:
                results[label] = result
                self.progress(f"{'idle':34} {label:9} {result['cpu_share']:.3%} of one core")
        return results

    def _attempt(self, name: str, label: str, action: Callable[[], dict]) -> dict | None:
        try:
            return action()
        except (GeneratorError, ServerError, OSError) as error:
            self.failures.append(f"{name}: {label} failed: {error}")
            self.progress(self.failures[-1])
            return None


def _bytes_per_key(fleet: Fleet, label: str) -> dict[str, float]:
    keys = MEMORY_KEYS // fleet.shrink
    with fleet.fresh(label) as instance:
        time.sleep(SETTLE_S / 2)
        rss_before, used_before = machine.resident_bytes(instance.pid), _used_memory(instance)
        load = fleet.own.load(
            instance.port,
            fleet.generator_cores(label),
            operations=[(1, MEMORY_COMMAND)],
            connections=4,
            pipeline=32,
            keys=keys,
            requests=keys,
            limit_s=LOAD_LIMIT_S,
        )
        rss_after, used_after = _settled_rss(instance.pid), _used_memory(instance)
        counted = int(instance.ask("DBSIZE"))
    if load.errors or counted != keys:
        raise ServerError(f"{counted} of {keys} keys were stored; {load.first_error}")
    return {
        "keys": counted,
        "rss_bytes_per_key": (rss_after - rss_before) / counted,
        "info_bytes_per_key": (used_after - used_before) / counted,
        "rss_bytes_empty": rss_before,
        "rss_bytes_full": rss_after,
        "fill_per_s": load.rate,
    }


def _bytes_per_element(fleet: Fleet, label: str, command: str, times: int, elements: int) -> dict[str, float]:
    times //= fleet.shrink

    def send(instance: Instance, command: str, times: int) -> Load:
        return fleet.own.load(
            instance.port,
            fleet.generator_cores(label),
            operations=operations_of(command),
            connections=4,
            pipeline=4,
            keys=times,
            requests=times,
            limit_s=LOAD_LIMIT_S,
        )

    with fleet.fresh(label) as instance:
        # What a server takes for its first clients is not the elements'.
        send(instance, ELEMENTS_WARM_UP, ELEMENTS_WARM_UP_TIMES)
        before = _settled_rss(instance.pid)
        load = send(instance, command, times)
        after = _settled_rss(instance.pid)
    if load.errors:
        raise ServerError(f"answered errors: {load.first_error[:120]}")
    return {"bytes": (after - before) / (times * elements)}


def _idle_cpu(fleet: Fleet, label: str, seconds: float) -> dict[str, float]:
    instance = fleet.awake(label)
    connections = [socket.create_connection(("127.0.0.1", instance.port)) for _ in range(IDLE_CONNECTIONS)]
    try:
        for connection in connections:
            connection.settimeout(REPLY_S_MAX)
            connection.sendall(b"PING\r\n")
            connection.recv(64)
        time.sleep(SETTLE_S)
        start, cpu = time.monotonic(), machine.process_cpu(instance.pid).total
        time.sleep(seconds)
        used = machine.process_cpu(instance.pid).total - cpu
        return {"cpu_share": used / (time.monotonic() - start), "seconds": seconds}
    finally:
        for connection in connections:
            connection.close()


def _grow(fleet: Fleet, label: str) -> Load:
    """Fills an empty server; `control` is `torc-bench echo` on the server's core instead."""
    if label == "control":
        for other in fleet.instances.values():
            other.pause()
        with Echo(fleet.own.binary, GROWTH_COMMAND, fleet.cores[:1]) as echo:
            return _grow_at(fleet, label, echo.port, echo.pid)
    with fleet.fresh(label) as instance:
        return _grow_at(fleet, label, instance.port, instance.pid)


def _grow_at(fleet: Fleet, label: str, port: int, pid: int) -> Load:
    keys = GROWTH_KEYS // fleet.shrink
    load = fleet.own.load(
        port,
        fleet.generator_cores(label),
        operations=[(1, GROWTH_COMMAND)],
        connections=GROWTH_CONNECTIONS,
        pipeline=GROWTH_PIPELINE,
        keys=keys,
        requests=keys,
        slow_us=SLOW_US,
        watch_pid=pid,
        limit_s=LOAD_LIMIT_S,
    )
    if load.errors:
        raise ServerError(f"answered errors: {load.first_error[:120]}")
    return load


def _pauses(load: Load) -> dict:
    """`server_ms`: not explained by waiting for a core. `on_core_ms`: the part the server demonstrably ran."""
    server = [pause["server_ms"] for pause in load.pauses]
    on_core = [min(pause["server_ms"], pause["server_ran_ms"]) for pause in load.pauses]
    worst = sorted(load.pauses, key=lambda pause: pause["server_ms"], reverse=True)[:PAUSES_KEPT]
    return {
        "throughput": load.rate,
        "p99.9_ms": load.latency_us["p99.9"] / 1000,
        "longest_ms": load.latency_us["max"] / 1000,
        "longest_server_ms": max(server, default=0.0),
        "longest_on_core_ms": max(on_core, default=0.0),
        "pauses_over_1ms": len(load.pauses),
        "server_pauses_over_2ms": sum(1 for ms in server if ms > 2),
        "on_core_pauses_over_2ms": sum(1 for ms in on_core if ms > 2),
        "worst": worst,
    }


def _growth_line(label: str, run: dict) -> str:
    return (
        f"{'growth':34} {label:9} {run['throughput']:>10,.0f}/s  longest {run['longest_ms']:.1f} ms, "
        f"by the server {run['longest_server_ms']:.1f} ms, of that on its core {run['longest_on_core_ms']:.1f} ms"
    )


def _used_memory(instance: Instance) -> int:
    return int(instance.info("memory").get("used_memory", 0))


def _settled_rss(pid: int) -> int:
    """RSS once buffers are freed and background rehashing has ended."""
    last = machine.resident_bytes(pid)
    for _ in range(SETTLE_TRIES):
        time.sleep(SETTLE_S)
        now = machine.resident_bytes(pid)
        if abs(now - last) <= last / 1000:
            return now
        last = now
    return last
