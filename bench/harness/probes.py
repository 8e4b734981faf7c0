"""Measurements that are not a steady load: bytes per key, the longest pause while growing, CPU when idle."""

import socket
import statistics
import time
from collections.abc import Callable

from harness import machine
from harness.generators import Load
from harness.runner import Fleet
from harness.servers import Echo, Instance

#: 18 bytes: `bytes:` and twelve digits.
MEMORY_COMMAND, MEMORY_KEYS = "SET bytes:__seq__ @64", 5_000_000
GROWTH_COMMAND, GROWTH_KEYS = "SET grow:__seq__ @64", 10_000_000
#: Few requests in flight, so that a reply takes well under a millisecond unless someone pauses.
GROWTH_CONNECTIONS, GROWTH_PIPELINE = 4, 16
SLOW_US = 1000
PAUSES_KEPT = 20
LOAD_LIMIT_S = 300
IDLE_CONNECTIONS = 16
SETTLE_S = 1.0
SETTLE_TRIES = 10

Progress = Callable[[str], None]


def memory(fleet: Fleet, labels: list[str], progress: Progress) -> dict[str, dict[str, float]]:
    """Growth of RSS over a fill of distinct keys, per key, on a server of its own; INFO's figure beside it."""
    keys = MEMORY_KEYS // fleet.shrink
    results = {}
    for label in labels:
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
        results[label] = {
            "keys": counted,
            "rss_bytes_per_key": (rss_after - rss_before) / counted,
            "info_bytes_per_key": (used_after - used_before) / counted,
            "rss_bytes_empty": rss_before,
            "rss_bytes_full": rss_after,
            "fill_per_s": load.rate,
        }
        result = results[label]
        progress(
            f"{'memory':34} {label:9} {result['rss_bytes_per_key']:.1f} B/key by RSS, "
            f"{result['info_bytes_per_key']:.1f} by INFO"
        )
    return results


def growth(fleet: Fleet, labels: list[str], rounds: int, progress: Progress) -> dict[str, dict]:
    """Replies slower than 1 ms while filling an empty server, and who caused them; the echo is the control."""
    keys = GROWTH_KEYS // fleet.shrink
    runs: dict[str, list[dict]] = {label: [] for label in ["control", *labels]}
    for _ in range(rounds):
        runs["control"].append(_pauses(_grow_echo(fleet, keys)))
        progress(_growth_line("control", runs["control"][-1]))
        for label in labels:
            with fleet.fresh(label) as instance:
                runs[label].append(_pauses(_grow(fleet, label, instance.port, instance.pid, keys)))
            progress(_growth_line(label, runs[label][-1]))
    measures = [key for key in runs["control"][0] if key != "worst"]
    return {
        label: {
            "median": {key: statistics.median(run[key] for run in done) for key in measures},
            "least": {key: min(run[key] for run in done) for key in measures},
            "rounds": done,
        }
        for label, done in runs.items()
    }


def idle(fleet: Fleet, labels: list[str], seconds: float, progress: Progress) -> dict[str, dict[str, float]]:
    """CPU that a server uses while its connections are open and silent."""
    results = {}
    for label in labels:
        instance = fleet.awake(label)
        connections = [socket.create_connection(("127.0.0.1", instance.port)) for _ in range(IDLE_CONNECTIONS)]
        try:
            for connection in connections:
                connection.sendall(b"PING\r\n")
                connection.recv(64)
            time.sleep(SETTLE_S)
            start, cpu = time.monotonic(), machine.process_cpu(instance.pid).total
            time.sleep(seconds)
            used = machine.process_cpu(instance.pid).total - cpu
            results[label] = {"cpu_share": used / (time.monotonic() - start), "seconds": seconds}
        finally:
            for connection in connections:
                connection.close()
        progress(f"{'idle':34} {label:9} {results[label]['cpu_share']:.3%} of one core")
    return results


def _grow_echo(fleet: Fleet, keys: int) -> Load:
    """The same load against `torc-bench echo`, which does nothing, on the server's core."""
    with Echo(fleet.own.binary, GROWTH_COMMAND, fleet.cores[:1]) as echo:
        return _grow(fleet, "control", echo.port, echo.pid, keys)


def _grow(fleet: Fleet, label: str, port: int, pid: int, keys: int) -> Load:
    for other in fleet.instances.values():
        other.pause()
    return fleet.own.load(
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
