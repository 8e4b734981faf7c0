"""What a user of redis-py does, in RESP2 and RESP3: plain calls, pipelines, transactions, pub/sub.

Usage: redis_py.py PORT
"""

import sys
import threading
import time

import redis


def strings(client):
    assert client.set("k", "v", ex=100)
    assert client.get("k") == b"v"
    assert 0 < client.ttl("k") <= 100
    assert client.set("k", "w", nx=True) is None
    assert client.set("k", "w", get=True) == b"v"
    assert client.mset({"a": 1, "b": 2, "c": 3})
    assert client.mget("a", "b", "missing", "c") == [b"1", b"2", None, b"3"]
    assert client.incrby("a", 41) == 42
    assert client.incrbyfloat("f", 1.5) == 1.5
    assert client.append("k", "x" * 50_000) == 50_001
    assert client.getrange("k", -3, -1) == b"xxx"
    assert client.getex("k", px=5000) is not None
    assert client.getdel("b") == b"2"
    assert client.lcs("a", "c") == b""


def bits(client):
    assert client.setbit("bits", 7, 1) == 0
    assert client.bitcount("bits") == 1
    assert client.bitpos("bits", 1) == 7
    assert client.bitop("NOT", "flipped", "bits") == 1
    assert client.bitfield("fields").set("u8", 0, 200).incrby("u8", 0, 100).execute() == [0, 44]


def keys(client):
    assert client.exists("a", "c", "missing") == 2
    assert client.rename("c", "d")
    assert client.copy("d", "e")
    assert client.type("d") == b"string"
    assert client.expire("d", 100, nx=True)
    assert client.persist("d")
    assert client.object("encoding", "a") == b"int"
    found = set(client.scan_iter(match="*", count=3))
    assert found == set(client.keys("*")), found
    assert client.dbsize() == len(found)
    assert client.unlink("d", "e", "missing") == 2


def pipelines(client):
    pipe = client.pipeline(transaction=False)
    for number in range(1000):
        pipe.set(f"p:{number}", number)
        pipe.get(f"p:{number}")
    replies = pipe.execute()
    assert replies[1::2] == [str(number).encode() for number in range(1000)]


def transactions(client):
    client.mset({"from": 100, "to": 0})
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch("from", "to")
                amount = int(pipe.get("from")) // 2
                pipe.multi()
                pipe.decrby("from", amount)
                pipe.incrby("to", amount)
                assert pipe.execute() == [50, 50]
                break
            except redis.WatchError:
                continue
    with client.pipeline() as pipe:
        pipe.watch("from")
        client.set("from", 7)
        pipe.multi()
        pipe.set("from", 8)
        try:
            pipe.execute()
            raise AssertionError("a watched key had changed")
        except redis.WatchError:
            pass
    assert client.get("from") == b"7"
    try:
        client.execute_command("NOSUCHCOMMAND")
        raise AssertionError("there is no such command")
    except redis.ResponseError as error:
        assert "unknown command" in str(error), error


def pubsub(client):
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    listener.psubscribe("n*")
    listener.get_message(timeout=5)
    listener.get_message(timeout=5)
    assert client.publish("news", "hello") == 2
    kinds = set()
    deadline = time.time() + 10
    while len(kinds) < 2 and time.time() < deadline:
        message = listener.get_message(timeout=1)
        if message:
            assert message["data"] == b"hello", message
            kinds.add(message["type"])
    assert kinds == {"message", "pmessage"}, kinds
    assert client.pubsub_numsub("news") == [(b"news", 1)]
    listener.close()


def connections(client):
    assert client.ping()
    assert client.echo("hi") == b"hi"
    assert client.client_setname("smoke")
    assert client.client_getname() in (b"smoke", "smoke")
    assert any(entry["name"] == "smoke" for entry in client.client_list())
    assert client.info("server")["redis_version"]
    assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert client.command_count() > 50
    assert len(client.time()) == 2
    assert client.memory_usage("a") > 0
    assert isinstance(client.slowlog_get(), list)


def threads(pool):
    errors = []

    def work(index):
        try:
            client = redis.Redis(connection_pool=pool)
            for _ in range(200):
                client.incr("shared")
        except Exception as error:  # shown below, in the main thread
            errors.append((index, error))

    workers = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors, errors
    assert redis.Redis(connection_pool=pool).get("shared") == b"1600"


def main():
    port = int(sys.argv[1])
    for protocol in (2, 3):
        pool = redis.ConnectionPool(port=port, protocol=protocol, socket_timeout=20)
        client = redis.Redis(connection_pool=pool)
        client.flushall()
        for test in (strings, bits, keys, pipelines, transactions, pubsub, connections):
            test(client)
        threads(pool)
        print(f"protocol {protocol}: passed")
    print("all passed")


main()
