"""The command line of `bench/compare`: finds servers and generators, runs the scenarios, writes the results."""

import argparse
import datetime
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import machine, report, scenarios, targets
from harness.generators import GeneratorError, Memtier, RedisBenchmark, TorcBench, external
from harness.probes import Probes
from harness.runner import Fleet, Series, run_series
from harness.scenarios import BOTH, GIVEN, Scenario
from harness.servers import Server, ServerError, identify

ROUNDS, SECONDS, IDLE_SECONDS = 3, 2.0, 6.0
QUICK_ROUNDS, QUICK_SECONDS, QUICK_IDLE_SECONDS = 1, 0.3, 1.0

DESCRIPTION = """\
Runs torc and each peer found in turn on the same cores with the same generator, and prints medians and ratios.
Peers: redis-server in PATH, and the binary named by VALKEY_SERVER.
"""


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return compare(parse(arguments), arguments)
    except (ServerError, GeneratorError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/compare", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--torc", metavar="BINARY", help="server to judge (default: $TORC, else target/release/torc)")
    add("--generator", metavar="BINARY", help="redis-benchmark (default), valkey-benchmark, memtier_benchmark or 'own'")
    add("--torc-bench", metavar="BINARY", help="this package's generator (default: built with cargo)")
    add("--scenario", metavar="A,B", help=f"only these: {', '.join(scenarios.names())}")
    add("--servers", metavar="A,B", help="only these of torc, redis, valkey")
    add("--repeat", type=int, metavar="N", help=f"rounds (default {ROUNDS})")
    add("--seconds", type=float, metavar="S", help=f"of load per run (default {SECONDS})")
    add("--cores", metavar="A,B", help="server's core, generator's core (default: the first two allowed)")
    add("--port-base", type=int, metavar="N", help="first of about 40 ports (default: free ones)")
    add("--out", type=Path, metavar="DIR", default=Path(__file__).parents[1] / "results", help="where results go")
    add("--quick", action="store_true", help="a smoke test of this tool: few scenarios, little data, under a minute")
    return parser.parse_args(arguments)


def compare(options: argparse.Namespace, arguments: list[str]) -> int:
    chosen = choose(options)
    rounds = options.repeat or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    idle_seconds = QUICK_IDLE_SECONDS if options.quick else IDLE_SECONDS
    servers = find_servers(options)
    own = TorcBench(options.torc_bench or build_own(options.quick))
    given = find_generator(options.generator)
    cores = find_cores(options.cores)
    description = {
        "machine": machine.describe() | {"server core, generator core": ", ".join(map(str, cores))},
        "servers": {label: server.version for label, server in servers.items()},
        "generators": [generator.version for generator in (given, own) if generator],
        "rounds": rounds,
        "seconds": seconds,
        "command_line": command_line(arguments),
        "warnings": stand_in_warnings(servers),
    }
    print("\n".join(f"{label}: {version}" for label, version in description["servers"].items()), flush=True)

    fleet = Fleet(servers, cores, own, options.port_base)
    fleet.shrink = scenarios.QUICK_SHRINK if options.quick else 1
    probes = Probes(fleet, progress)
    started = time.monotonic()
    series: list[Series] = []
    results: dict[str, dict] = {}
    try:
        for scenario in [one for one in scenarios.LOADS if one.name in chosen]:
            if options.quick:
                scenario = scenarios.shrunk(scenario)
            for generator in generators_of(scenario, given, own):
                series.append(run_series(fleet, scenario, generator, rounds, seconds, progress))
        single = [label for label in ("torc", "redis", "valkey") if fleet.has(label)]
        double = [label for label in ("torc/2",) if fleet.has(label)]
        if "idle" in chosen:
            results["idle"] = probes.idle(single + double, idle_seconds)
        fleet.end()
        if "memory" in chosen:
            results["memory"] = probes.memory(single)
        if "elements" in chosen:
            results["elements"] = probes.elements(single)
        if "growth" in chosen:
            results["growth"] = probes.growth(single, rounds)
    except KeyboardInterrupt:
        description["warnings"].append("interrupted: what follows is what was measured until then")
    finally:
        fleet.end()
    description["warnings"] += probes.failures

    verdicts = targets.evaluate(series, results)
    description["minutes"] = round((time.monotonic() - started) / 60, 1)
    markdown = report.to_markdown(description, series, results, verdicts)
    paths = write(options.out, report.to_json(description, series, results, verdicts), markdown)
    print(f"\n{markdown}\nwritten: {', '.join(path.name for path in paths)} ({description['minutes']} minutes)")
    return 1 if probes.failures or any(one.broken for one in series) else 0


def choose(options: argparse.Namespace) -> list[str]:
    if not options.scenario:
        return scenarios.QUICK if options.quick else scenarios.names()
    chosen = options.scenario.split(",")
    unknown = set(chosen) - set(scenarios.names())
    if unknown:
        raise ServerError(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(scenarios.names())}")
    return chosen


def find_servers(options: argparse.Namespace) -> dict[str, Server]:
    """torc is required, a peer that is absent is said and left out."""
    wanted = options.servers.split(",") if options.servers else ["torc", "redis", "valkey"]
    torc = options.torc or os.environ.get("TORC") or str(target_directory() / "release" / "torc")
    places = {"torc": torc, "redis": "redis-server", "valkey": os.environ.get("VALKEY_SERVER", "")}
    servers = {}
    for label in wanted:
        if label not in places:
            raise ServerError(f"no server called '{label}'")
        if label == "torc" and shutil.which(torc) is None:
            raise ServerError("no torc binary: build it with `cargo build --release`, or name it with --torc")
        if label != "torc" and not places[label]:
            print(f"{label}: skipped, VALKEY_SERVER is not set")
        elif label != "torc" and shutil.which(places[label]) is None:
            print(f"{label}: skipped, not found")
        else:
            servers[label] = identify(label, places[label])
    return servers


def stand_in_warnings(servers: dict[str, Server]) -> list[str]:
    torc = servers.get("torc")
    if torc is None or torc.kind == "torc":
        return []
    return [f"'torc' is a stand-in here ({torc.version}): this run only tries the tool"]


def find_generator(given: str | None) -> RedisBenchmark | Memtier | None:
    if given == "own":
        return None
    if given:
        return external(given)
    if shutil.which("redis-benchmark"):
        return external("redis-benchmark")
    print("redis-benchmark not found: torc-bench drives everything")
    return None


def generators_of(
    scenario: Scenario, given: RedisBenchmark | Memtier | None, own: TorcBench
) -> list[RedisBenchmark | Memtier | TorcBench]:
    able = given if given is not None and given.can(scenario) else None
    if scenario.generator == BOTH:
        return [able, own] if able else [own]
    return [able] if scenario.generator == GIVEN and able else [own]


def find_cores(text: str | None) -> list[int]:
    cores = [int(core) for core in text.split(",")] if text else machine.allowed_cores()[:2]
    if len(cores) == 1:
        print("only one core: server and generator share it, so only CPU per op means anything")
        return cores * 2
    return cores[:2]


def target_directory() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", machine.REPOSITORY / "target"))


def build_own(quick: bool) -> str:
    """Builds torc-bench; the smoke test takes the dev profile, which other tests have built anyway."""
    profile = [] if quick else ["--release"]
    command = ["cargo", "build", "--quiet", *profile, "-p", "torc-bench"]
    if subprocess.run(command, cwd=machine.REPOSITORY, check=False).returncode != 0:
        raise GeneratorError(f"`{' '.join(command)}` failed")
    return str(target_directory() / ("debug" if quick else "release") / "torc-bench")


def command_line(arguments: list[str]) -> str:
    """As typed, with binaries by name only: where they lie says nothing to a reader elsewhere."""
    words = ["bench/compare"]
    for word in arguments:
        flag, equals, value = word.rpartition("=")
        words.append(flag + equals + (Path(value).name if "/" in value else value))
    valkey = os.environ.get("VALKEY_SERVER")
    prefix = f"VALKEY_SERVER={Path(valkey).name} " if valkey else ""
    return prefix + shlex.join(words)


def write(directory: Path, result: dict, markdown: str) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    stem = datetime.datetime.now(datetime.timezone.utc).strftime("compare-%Y%m%d-%H%M%S")
    paths = [directory / f"{stem}.json", directory / f"{stem}.md"]
    paths[0].write_text(json.dumps(result, indent=1) + "\n")
    paths[1].write_text(markdown)
    return paths


def progress(line: str) -> None:
    print(line, flush=True)
