"""The loads, as data: what is sent, over how many connections, how deep, to which servers.

Commands are in torc-bench's notation (`torc-bench --help`): `__rand_int__` is redis-benchmark's own placeholder,
`@64` a value of 64 bytes.
"""

import dataclasses
from dataclasses import dataclass

#: memtier writes key numbers without leading zeros; its keys start where twelve digits follow a 1.
MEMTIER_KEY_BASE = 1_000_000_000_000

#: Data loaded before the first run that needs it: command with `__seq__`, number of keys.
DATASETS: dict[str, tuple[str, int]] = {
    "none": ("", 0),
    "small": ("SET key:__seq__ @64", 1_000_000),
    "small-memtier": ("SET key:1__seq__ @64", 1_000_000),
    "1k": ("SET k1:__seq__ @1024", 100_000),
    "64k": ("SET k64:__seq__ @65536", 4_000),
    "tagged": ("SET {t}key:__seq__ @64", 100_000),
    "counters": ("SET ctr:__seq__ 0", 1_000_000),
    "hashes": ("HSET hash:__seq__" + "".join(f" field:{n:02} @20" for n in range(50)), 20_000),
    "sorted": ("ZADD sorted __seq__ member:__seq__", 1_000_000),
    "groups": ("XGROUP CREATE stream:__seq__ group $ MKSTREAM", 100),
}

#: Generators of a scenario: the tool that was given (redis-benchmark, ...), torc-bench, or both after another.
GIVEN, OWN, BOTH = "given", "own", "both"


@dataclass(frozen=True)
class Scenario:
    """One load. `instances` are labels: torc, redis, valkey, with /2 on two cores, with +everysec or +always with an
    append-only file of that policy."""

    name: str
    title: str
    operations: list[tuple[int, str]]
    connections: int = 50
    pipeline: int = 1
    dataset: str = "small"
    keys: int = 1_000_000
    value_bytes: int = 64
    generator: str = GIVEN
    section: str = "one"
    #: Null replies are part of the load: queues run empty.
    nulls: bool = False

    @property
    def instances(self) -> list[str]:
        if self.section == "one":
            return ["torc", "redis", "valkey"]
        if self.section == "everysec":
            return ["torc", "torc+everysec", "valkey", "valkey+everysec"]
        if self.section == "always":
            return ["torc+always", "valkey+always"]
        return ["torc", "torc/2", "valkey/2"] if self.section == "forward" else ["torc/2", "valkey/2"]


GET, SET = [(1, "GET key:__rand_int__")], [(1, "SET key:__rand_int__ @64")]
MGET10 = [(1, "MGET" + " key:__rand_int__" * 10)]
MSET10 = [(1, "MSET" + " key:__rand_int__ @64" * 10)]
MGET10_TAG = [(1, "MGET" + " {t}key:__rand_int__" * 10)]
MSET10_TAG = [(1, "MSET" + " {t}key:__rand_int__ @64" * 10)]
ZIPF = [(90, "GET key:__zipf__"), (10, "SET key:__zipf__ @64")]
EXPIRING = [
    (40, "SET exp:__rand_int__ @64 PX __ms__"),
    (20, "PEXPIRE exp:__rand_int__ __ms__"),
    (30, "GET exp:__rand_int__"),
    (10, "PTTL exp:__rand_int__"),
]


def _sized(name: str, title: str, prefix: str, dataset: str, value_bytes: int, pipeline: int) -> list[Scenario]:
    keys = DATASETS[dataset][1]
    commands = [("get", f"GET {prefix}:__rand_int__"), ("set", f"SET {prefix}:__rand_int__ @{value_bytes}")]
    return [
        Scenario(
            f"{verb}-{name}",
            f"{verb.upper()}, {title}, pipeline {pipeline}",
            [(1, command)],
            pipeline=pipeline,
            dataset=dataset,
            keys=keys,
            value_bytes=value_bytes,
        )
        for verb, command in commands
    ]


def _tagged(name: str, title: str, operations: list[tuple[int, str]], section: str) -> Scenario:
    return Scenario(name, title, operations, dataset="tagged", keys=DATASETS["tagged"][1], section=section)


def operations_of(commands: str) -> list[tuple[int, str]]:
    """Commands joined by ` + `, which are equally frequent."""
    return [(1, command) for command in commands.split(" + ")]


def _typed(name: str, title: str, command: str, dataset: str = "none", keys: int = 1_000, **more) -> Scenario:
    operations = operations_of(command)
    return Scenario(
        name, f"{title}, pipeline 16", operations, pipeline=16, dataset=dataset, keys=keys, generator=OWN, **more
    )


#: Collections: lists and sets of moderate size, hashes of 50 fields of 20 bytes, one sorted set of a million members.
TYPES: list[Scenario] = [
    _typed("list-queue", "LPUSH and LPOP", "LPUSH list:__rand_int__ @20 + LPOP list:__rand_int__", nulls=True),
    _typed("set-sadd", "SADD", "SADD set:__rand_int__ __rand_int__"),
    _typed("set-sismember", "SISMEMBER", "SISMEMBER set:__rand_int__ __rand_int__"),
    _typed("hash-hset", "HSET of one field of 50", "HSET hash:__rand_int__ field:25 @20", "hashes", 20_000),
    _typed("hash-hget", "HGET of one field of 50", "HGET hash:__rand_int__ field:25", "hashes", 20_000),
    _typed("hash-hgetall", "HGETALL of 50 fields", "HGETALL hash:__rand_int__", "hashes", 20_000),
    _typed("zset-zadd", "ZADD in 1 M members", "ZADD sorted __rand_int__ member:__rand_int__", "sorted", 1_000_000),
    _typed(
        "zset-range",
        "ZRANGEBYSCORE of 10 in 1 M members",
        "ZRANGEBYSCORE sorted __rand_int__ +inf LIMIT 0 10",
        "sorted",
        1_000_000,
    ),
    _typed("zset-zrank", "ZRANK in 1 M members", "ZRANK sorted member:__rand_int__", "sorted", 1_000_000),
    _typed(
        "stream-group",
        "XADD and XREADGROUP",
        "XADD stream:__rand_int__ MAXLEN ~ 1000 * field @20"
        " + XREADGROUP GROUP group one COUNT 10 NOACK STREAMS stream:__rand_int__ >",
        "groups",
        100,
        nulls=True,
    ),
]

LOADS: list[Scenario] = [
    Scenario("get-p1", "GET, pipeline 1", GET, generator=BOTH),
    Scenario("set-p1", "SET, pipeline 1", SET, generator=BOTH),
    Scenario("get-p16", "GET, pipeline 16", GET, pipeline=16, generator=BOTH),
    Scenario("set-p16", "SET, pipeline 16", SET, pipeline=16, generator=BOTH),
    Scenario("get-p64", "GET, pipeline 64", GET, pipeline=64),
    Scenario("set-p64", "SET, pipeline 64", SET, pipeline=64),
    Scenario("get-c1", "GET, 1 connection", GET, connections=1),
    Scenario("set-c1", "SET, 1 connection", SET, connections=1),
    Scenario("get-c500", "GET, 500 connections", GET, connections=500),
    Scenario("set-c500", "SET, 500 connections", SET, connections=500),
    *_sized("1k", "1 KB values", "k1", "1k", 1024, 16),
    *_sized("64k", "64 KB values", "k64", "64k", 65536, 1),
    Scenario("incr-p1", "INCR, pipeline 1", [(1, "INCR ctr:__rand_int__")], dataset="counters"),
    Scenario("incr-p16", "INCR, pipeline 16", [(1, "INCR ctr:__rand_int__")], pipeline=16, dataset="counters"),
    Scenario("mget10-p1", "MGET of 10, pipeline 1", MGET10, generator=BOTH),
    Scenario("mset10-p1", "MSET of 10, pipeline 1", MSET10, generator=BOTH),
    Scenario("mget10-p16", "MGET of 10, pipeline 16", MGET10, pipeline=16, generator=OWN),
    Scenario("mset10-p16", "MSET of 10, pipeline 16", MSET10, pipeline=16, generator=OWN),
    _tagged("mget10-tag", "MGET of 10 under one hash tag", MGET10_TAG, "one"),
    _tagged("mset10-tag", "MSET of 10 under one hash tag", MSET10_TAG, "one"),
    Scenario("expire-p16", "expiry-heavy mix, pipeline 16", EXPIRING, pipeline=16, dataset="none", generator=OWN),
    Scenario("zipf-p1", "90/10 Zipf mix, pipeline 1", ZIPF, generator=OWN),
    Scenario("zipf-p16", "90/10 Zipf mix, pipeline 16", ZIPF, pipeline=16, generator=OWN),
    *TYPES,
    Scenario("forward-get-p1", "GET, pipeline 1", GET, section="forward", generator=OWN),
    Scenario("forward-set-p1", "SET, pipeline 1", SET, section="forward", generator=OWN),
    Scenario("forward-get-p16", "GET, pipeline 16", GET, pipeline=16, section="forward", generator=OWN),
    Scenario("forward-set-p16", "SET, pipeline 16", SET, pipeline=16, section="forward", generator=OWN),
    Scenario("two-get-p16", "GET, pipeline 16", GET, pipeline=16, section="two"),
    Scenario("two-mget10", "MGET of 10", MGET10, section="two"),
    Scenario("two-mset10", "MSET of 10", MSET10, section="two"),
    _tagged("two-mget10-tag", "MGET of 10 under one hash tag", MGET10_TAG, "two"),
    _tagged("two-mset10-tag", "MSET of 10 under one hash tag", MSET10_TAG, "two"),
    Scenario("log-set-p16", "SET, pipeline 16", SET, pipeline=16, section="everysec", generator=OWN),
    Scenario("log-set-always", "SET, pipeline 1", SET, section="always", generator=OWN),
    Scenario("two-zipf-p16", "90/10 Zipf mix, pipeline 16", ZIPF, pipeline=16, section="two", generator=OWN),
]

#: Scenarios that are not a steady load; see probes.py.
PROBES = {
    "memory": "bytes per key",
    "elements": "bytes per element of collections",
    "growth": "longest pause while growing from empty",
    "idle": "CPU of an idle server with 16 connections",
}

#: What a fill for "elements" is made of: commands, which take turns at random, how often, elements in each. Of lists there
#: are eight, so that the end of the last huge page, which may be half empty, is not a twentieth of what is measured.
ELEMENTS: dict[str, tuple[str, int, int]] = {
    "hash of 50 x 20 bytes": (DATASETS["hashes"][0], 40_000, 50),
    "set of 1,000 integers": ("SADD set:__seq__ " + " ".join(str(n) for n in range(100_000, 101_000)), 3_000, 1_000),
    "sorted set of 1 M": ("ZADD sorted __seq__ member:__seq__", 1_000_000, 1),
    "lists of 1 M": (" + ".join(f"RPUSH list:{n} element:__seq__" for n in range(8)), 8_000_000, 1),
}

QUICK = [
    "get-p1", "set-p16", "mget10-p16", "expire-p16", "zipf-p16", "hash-hget", "zset-zrank", "forward-get-p16", *PROBES
]
QUICK_SHRINK = 50


def names() -> list[str]:
    return [*(scenario.name for scenario in LOADS), *PROBES]


def shrunk(scenario: Scenario) -> Scenario:
    """The same load over few keys, for a smoke test of the tool."""
    return dataclasses.replace(scenario, keys=max(100, scenario.keys // QUICK_SHRINK))
