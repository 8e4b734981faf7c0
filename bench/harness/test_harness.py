"""Tests of the arithmetic behind the verdicts; the runs themselves are tried by `bench/compare --quick`.

Run: python3 -m unittest discover -s bench -t bench
"""

import unittest

from harness import report, scenarios, targets
from harness.generators import Child, RedisBenchmark
from harness.main import command_line
from harness.runner import Series

BENCHMARK_OUTPUT = """\
====== get key:__rand_int__ ======
  300000 requests completed in 0.40 seconds
  50 parallel clients

Latency by percentile distribution:
0.000% <= 0.311 milliseconds (cumulative count 16)
50.000% <= 0.887 milliseconds (cumulative count 152672)
99.805% <= 2.383 milliseconds (cumulative count 299424)
99.902% <= 2.567 milliseconds (cumulative count 299712)
100.000% <= 2.847 milliseconds (cumulative count 300000)

Cumulative distribution of latencies:
99.950% <= 9.000 milliseconds (cumulative count 1)

Summary:
  throughput summary: 750000.00 requests per second
  latency summary (msec):
          avg       min       p50       p95       p99       max
        0.925     0.304     0.887     1.455     1.879     2.847
"""


def run(throughput: float, cpu: float, generator_core_busy: float = 0.5) -> dict[str, float]:
    return {
        "throughput": throughput,
        "p50": 100.0,
        "p99": 200.0,
        "p99.9": 300.0,
        "cpu": cpu,
        "server_busy": 1.0,
        "generator_core_busy": generator_core_busy,
        "foreign": 0.0,
        "steal": 0.0,
    }


def series(name: str, **runs: list[dict[str, float]]) -> Series:
    scenario = next(one for one in scenarios.LOADS if one.name == name)
    return Series(scenario, "torc-bench", {label.replace("_", "/"): list(of) for label, of in runs.items()})


class Parsing(unittest.TestCase):
    def test_redis_benchmark(self):
        load = RedisBenchmark._parse(BENCHMARK_OUTPUT, Child("", "", 0, 0.2, 0.5))
        self.assertEqual((load.operations, load.rate), (300_000, 750_000))
        expected = {"mean": 925, "min": 304, "p50": 887, "p99": 1879, "p99.9": 2567, "max": 2847}
        self.assertEqual({key: round(value) for key, value in load.latency_us.items()}, expected)

    def test_command_line_names_no_paths(self):
        line = command_line(["--torc", "/somewhere/torc", "--generator=/x/memtier_benchmark", "--quick"])
        self.assertTrue(line.endswith("bench/compare --torc torc --generator=memtier_benchmark --quick"), line)


class Ratios(unittest.TestCase):
    def test_ratio_is_of_medians_and_its_range_of_rounds(self):
        one = series("get-p16", torc=[run(10, 1), run(30, 1), run(20, 1)], valkey=[run(10, 1)] * 3)
        self.assertEqual(one.ratio("torc", "valkey", "throughput"), {"median": 2, "least": 1, "greatest": 3})

    def test_verdicts(self):
        cases = [
            (series("get-p16", torc=[run(200, 1)], valkey=[run(100, 2)]), ["PASS"]),
            (series("get-p16", torc=[run(199, 1)], valkey=[run(100, 2)]), ["MISS"]),
            (series("set-p16", torc=[run(250, 1)], redis=[run(100, 2)], valkey=[run(100, 2)]), ["PASS", "MISS"]),
            (series("get-p1", torc=[run(1, 0.75)], valkey=[run(1, 1)], redis=[run(1, 1)]), ["PASS", "MISS"]),
            (series("forward-get-p16", torc_2=[run(1, 1.3)], torc=[run(1, 1)]), ["PASS"]),
            (series("forward-set-p1", torc_2=[run(1, 1.41)], torc=[run(1, 1)]), ["MISS"]),
            (series("get-p64", torc=[run(1, 1)], valkey=[run(1, 1)]), []),
        ]
        for one, expected in cases:
            self.assertEqual([verdict.word for verdict in targets.evaluate([one], {})], expected, one.name)

    def test_a_saturated_generator_is_said(self):
        one = series("get-p16", torc=[run(150, 1, 0.99)], valkey=[run(100, 2.5)])
        (verdict,) = targets.evaluate([one], {})
        self.assertIn("lower bound: by CPU per op 2.50x", verdict.note)

    def test_pauses_of_the_machine_are_not_torcs(self):
        def growth(torc_on_core: float, torc_server: float, echo: float) -> str:
            median = {"longest_on_core_ms": torc_on_core, "longest_server_ms": torc_server}
            control = {"longest_on_core_ms": 0.1, "longest_server_ms": echo}
            (verdict,) = targets.evaluate([], {"growth": {"torc": {"median": median}, "control": {"median": control}}})
            return verdict.word

        self.assertEqual(growth(0.5, 1.9, 0.1), "PASS")
        self.assertEqual(growth(0.5, 4.0, 5.0), "PASS")
        self.assertEqual(growth(0.5, 4.0, 1.0), "MISS")
        self.assertEqual(growth(2.5, 4.0, 5.0), "MISS")


class Scenarios(unittest.TestCase):
    def test_names_are_unique_and_quick_ones_exist(self):
        names = scenarios.names()
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(set(scenarios.QUICK), set(names))

    def test_every_target_has_its_scenario(self):
        for names, *_ in targets.RATIO_TARGETS:
            self.assertLessEqual(set(names), set(scenarios.names()))


class Tables(unittest.TestCase):
    def test_numbers_are_aligned_right(self):
        self.assertEqual(
            report._table(["name", "n"], [["a", "10"], ["b", "1,000"]]),
            ["| name |     n |", "| ---- | ----: |", "| a    |    10 |", "| b    | 1,000 |"],
        )


if __name__ == "__main__":
    unittest.main()
