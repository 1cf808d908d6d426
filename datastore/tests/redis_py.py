"""What a user of redis-py does with a store, in either version of the protocol."""

import argparse
import threading
import time
from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--socket", required=True)
    arguments.add_argument("--protocol", type=int, required=True)
    given = arguments.parse_args()
    who = {"username": "acme", "password": "acme-secret", "protocol": given.protocol}
    client = redis.Redis(port=given.port, **who)
    client.flushdb()
    strings(client)
    expiry(client)
    pipelines(client)
    pools(given.port, who)
    buckets(client)
    near = redis.Redis(unix_socket_path=given.socket, **who)
    large = bytes(range(256)) * 20_000
    near.set("{r}large", large)
    assert client.get("{r}large") == large
    other = redis.Redis(port=given.port, username="other", password="other-secret", protocol=given.protocol)
    assert other.get("{r}large") is None
    assert other.dbsize() == 0
    try:
        once = Retry(NoBackoff(), 0)
        redis.Redis(port=given.port, username="acme", password="wrong", retry=once).ping()
        raise AssertionError("a wrong password is taken")
    except redis.AuthenticationError:
        pass
    print("all is well")


def strings(client: redis.Redis) -> None:
    assert client.set("a", "1") is True
    assert client.get("a") == b"1"
    assert client.set("a", "2", nx=True) is None
    assert client.set("a", "2", xx=True, get=True) == b"1"
    assert client.append("a", "34") == 3
    assert client.getrange("a", 0, 1) == b"23"
    assert client.strlen("a") == 3
    assert client.mset({"b": "1", "c": "2"}) is True
    assert client.mget("b", "none", "c") == [b"1", None, b"2"]
    assert client.getdel("b") == b"1"
    assert client.exists("a", "b", "c") == 2
    assert client.type("a") == b"string"
    assert sorted(client.scan_iter(match="?", count=1)) == [b"a", b"c"]
    assert client.dbsize() == 2
    assert client.delete("a", "c") == 2
    assert client.info()["redis_mode"] == "standalone"
    assert client.config_get("save") == {"save": ""}
    assert client.client_id() > 0


def expiry(client: redis.Redis) -> None:
    assert client.set("a", "1", ex=100)
    assert 90 < client.ttl("a") <= 100
    assert client.expire("a", 200, lt=True) is False
    assert 90 < client.ttl("a") <= 100
    assert client.expire("a", 50, lt=True) is True
    assert 40 < client.ttl("a") <= 50
    assert client.persist("a") is True
    assert client.ttl("a") == -1
    assert client.getex("a", px=60_000) == b"1"
    assert 50_000 < client.pttl("a") <= 60_000
    assert client.setex("b", 10, "2")
    assert 0 < client.ttl("b") <= 10
    assert client.expire("none", 1) is False
    client.delete("a", "b")
    goes(client)


def goes(client: redis.Redis) -> None:
    """What is put for five seconds is there until they are over, and then it is gone."""
    begin = time.monotonic()
    client.set("short", "1", px=5_000)
    client.set("stays", "1", ex=100)
    assert client.get("short") == b"1"
    wait(lambda: client.get("short") is None)
    assert time.monotonic() - begin > 4.9
    assert client.exists("short", "stays") == 1
    assert client.ttl("short") == -2
    # As in Redis, it is counted until somebody looks or it is swept away.
    wait(lambda: client.dbsize() == 1)
    client.delete("stays")


def wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def pipelines(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for n in range(1_000):
            pipeline.set(f"{{p}}{n}", str(n))
            pipeline.get(f"{{p}}{n}")
        replies = pipeline.execute()
    assert replies[1::2] == [str(n).encode() for n in range(1_000)]


def pools(port: int, who: dict) -> None:
    pool = redis.ConnectionPool(port=port, max_connections=8, **who)
    wrong = []

    def work(thread: int) -> None:
        client = redis.Redis(connection_pool=pool)
        for n in range(100):
            client.set(f"{{t{thread}}}{n}", str(n))
            if client.get(f"{{t{thread}}}{n}") != str(n).encode():
                wrong.append((thread, n))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def buckets(client: redis.Redis) -> None:
    dropped = client.execute_command("BUCKET.DROP", "p", 1)
    if isinstance(dropped, list):
        dropped = dict(zip(dropped[::2], dropped[1::2]))
    assert dropped[b"keys"] == 1_000, dropped
    assert client.get("{p}1") is None
    reference = client.execute_command("BUCKET.REF", "{t1}5")
    assert reference is not None


main()
