#!/usr/bin/env python3
"""The store beside Redis: throughput, processor per operation, large values, drops, memory.

Both run on this machine, in turn, under the same client (redis-benchmark, or the sockets below), in
rounds; a table shows medians and their ratio. Raw figures of every round go to
docs/benchmarks/datastore.json, the table to docs/benchmarks/datastore.md.
"""

import argparse
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORE = ROOT / "target/release/turlough-datastore"
HZ = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Server:
    """A server of either kind, on a port and a Unix socket of its own."""

    def __init__(self, kind: str, folder: pathlib.Path, forgets: bool = False) -> None:
        self.kind, self.socket = kind, str(folder / f"{kind}.sock")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if kind == "redis":
            command = ["redis-server", "--port", str(self.port), "--unixsocket", self.socket]
            command += ["--save", "", "--appendonly", "no", "--io-threads", "1", "--dir", str(folder)]
        else:
            command = [str(STORE), "--listen", "127.0.0.1", "--port", str(self.port)]
            command += ["--metrics-port", "0", "--socket", self.socket, "--bytes-max", str(8 << 30)]
            command += ["--secrets", str(folder / "none"), "--value-bytes-max", str(512 << 20)]
            # A bucket that was dropped is remembered for as long as its lease would have lasted.
            command += ["--lease", "2s"] if forgets else []
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.connect(True).close()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"{kind} does not come up: {command}")

    def connect(self, near: bool) -> socket.socket:
        if near:
            wire = socket.socket(socket.AF_UNIX)
            wire.connect(self.socket)
            return wire
        wire = socket.create_connection(("127.0.0.1", self.port))
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return wire

    def cpu_s(self) -> float:
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / HZ

    def resident(self) -> int:
        return int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def command(*words: bytes) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def line(wire: socket.socket) -> bytes:
    text = b""
    while not text.endswith(b"\r\n"):
        text += wire.recv(1)
    return text


def set_value(wire: socket.socket, key: bytes, value: bytes) -> None:
    wire.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(key), key, len(value)))
    wire.sendall(value)
    wire.sendall(b"\r\n")
    if (said := line(wire)) != b"+OK\r\n":
        raise SystemExit(f"SET was answered {said!r}")


def get_value(wire: socket.socket, key: bytes, into: memoryview) -> int:
    wire.sendall(command(b"GET", key))
    size = int(line(wire)[1:])
    view, left = into[: size + 2], size + 2
    while left:
        left -= wire.recv_into(view[size + 2 - left :])
    return size


def benchmark(server: Server, near: bool, test: str, size: int, clients: int, count: int) -> dict:
    where = ["-s", server.socket] if near else ["-p", str(server.port)]
    keys = max(1, min(10_000, (256 << 20) // size))
    call = ["redis-benchmark", *where, "-t", test, "-d", str(size), "-c", str(clients)]
    call += ["-n", str(count), "-r", str(keys), "--csv"]
    # Every key is there, and the memory has been touched: first touches cost what the host wants.
    fill = [word if word != "get" else "set" for word in call]
    fill[fill.index("-n") + 1] = str(keys * 3)
    subprocess.run(fill, check=True, capture_output=True)
    before = server.cpu_s()
    told = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    cpu = server.cpu_s() - before
    rows = [row.replace('"', "").split(",") for row in told.splitlines() if row.startswith('"')]
    named = dict(zip(rows[0], rows[1]))
    return {
        "per_s": float(named["rps"]),
        "p50_ms": float(named["p50_latency_ms"]),
        "p99_ms": float(named["p99_latency_ms"]),
        "cpu_us": cpu / count * 1e6,
    }


def pipelined(server: Server, near: bool, test: str, size: int, depth: int, count: int) -> dict:
    """A client of ours that keeps four connections full, `depth` commands each: the server is the limit."""
    value = os.urandom(size)
    names = [b"{pipelined}%d" % n for n in range(max(1, min(10_000, (64 << 20) // size)))]
    answer = b"+OK\r\n" if test == "set" else b"$%d\r\n%s\r\n" % (size, value)
    into = memoryview(bytearray(len(answer) * depth))
    wires = [server.connect(near) for _ in range(4)]
    for name in names:
        set_value(wires[0], name, value)
    turns = itertools.cycle(names)
    batches = []
    for _ in range(max(4, min(64, (64 << 20) // (size * depth)))):
        batch = itertools.islice(turns, depth)
        batches.append(b"".join(command(test.upper().encode(), it, *[value] * (test == "set")) for it in batch))
    rounds = count // (depth * len(wires))
    before, begin = server.cpu_s(), time.perf_counter()
    for turn in range(rounds):
        for place, wire in enumerate(wires):
            wire.sendall(batches[(turn * len(wires) + place) % len(batches)])
        for wire in wires:
            left = len(into)
            while left:
                left -= wire.recv_into(into[len(into) - left :])
            if into[: len(answer)] != answer or into[-len(answer) :] != answer:
                raise SystemExit(f"{server.kind} answered {bytes(into[:80])!r}")
    took, done = time.perf_counter() - begin, rounds * depth * len(wires)
    for wire in wires:
        wire.close()
    return {"per_s": done / took, "cpu_us": (server.cpu_s() - before) / done * 1e6}


def huge(server: Server) -> dict:
    """64 MB over the Unix socket: seconds to put and to read."""
    value, into = os.urandom(64 << 20), memoryview(bytearray((64 << 20) + 2))
    with server.connect(True) as wire:
        times = {"set": [], "get": []}
        for turn in range(6):
            begin = time.perf_counter()
            set_value(wire, b"{huge}v", value)
            times["set"].append(time.perf_counter() - begin)
            begin = time.perf_counter()
            assert get_value(wire, b"{huge}v", into) == len(value)
            times["get"].append(time.perf_counter() - begin)
        assert into[: len(value)] == value
        wire.sendall(command(b"DEL", b"{huge}v"))
        line(wire)
    return {f"{name}_ms": statistics.median(all[1:]) * 1e3 for name, all in times.items()}


def bare(folder: pathlib.Path) -> dict:
    """64 MB over a bare Unix socket into memory that is used again: what nothing can be faster than."""
    path, size = str(folder / "bare.sock"), 64 << 20
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    child = os.fork()
    if child == 0:
        wire, _ = listener.accept()
        into = memoryview(bytearray(size))
        while True:
            left = size
            while left:
                if not (got := wire.recv_into(into[size - left :])):
                    os._exit(0)
                left -= got
            wire.sendall(b"+")
            wire.sendall(into)
    value, into, times = os.urandom(size), memoryview(bytearray(size)), {"set": [], "get": []}
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(path)
        for _ in range(6):
            begin = time.perf_counter()
            wire.sendall(value)
            wire.recv(1)
            times["set"].append(time.perf_counter() - begin)
            begin, left = time.perf_counter(), size
            while left:
                left -= wire.recv_into(into[size - left :])
            times["get"].append(time.perf_counter() - begin)
    os.waitpid(child, 0)
    os.unlink(path)
    return {f"{name}_ms": statistics.median(all[1:]) * 1e3 for name, all in times.items()}


def beside_large(server: Server) -> dict:
    """The p99 of small GETs, alone and with ten GETs of 10 MB a second beside them."""
    alone = benchmark(server, False, "get", 1_000, 10, 400_000)
    stop = threading.Event()
    with server.connect(False) as wire:
        set_value(wire, b"{large}v", os.urandom(10_000_000))

    def read() -> None:
        into = memoryview(bytearray(10_000_002))
        with server.connect(False) as wire:
            while not stop.wait(0.1):
                get_value(wire, b"{large}v", into)

    reader = threading.Thread(target=read)
    reader.start()
    beside = benchmark(server, False, "get", 1_000, 10, 400_000)
    stop.set()
    reader.join()
    return {"alone_p99_ms": alone["p99_ms"], "beside_p99_ms": beside["p99_ms"]}


def drops(server: Server, keys: int) -> dict:
    """Dropping a request of so many keys: a bucket at once, or every key by UNLINK; the median of five."""
    took = []
    with server.connect(True) as wire:
        reader = wire.makefile("rb")
        for turn in range(1, 6):
            for begin in range(0, keys, 1_000):
                names = [b"{drop}%d" % n for n in range(begin, begin + 1_000)]
                epoch = [b"EPOCH", b"%d" % turn] if server.kind == "store" else []
                wire.sendall(b"".join(command(b"SET", name, b"x" * 100, *epoch) for name in names))
                for _ in names:
                    if (said := reader.readline()) != b"+OK\r\n":
                        raise SystemExit(f"SET was answered {said!r}")
            calls = [command(b"BUCKET.DROP", b"drop", b"%d" % turn)]
            if server.kind == "redis":
                calls = [
                    command(b"UNLINK", *(b"{drop}%d" % n for n in range(begin, begin + 1_000)))
                    for begin in range(0, keys, 1_000)
                ]
            begin = time.perf_counter()
            for call in calls:
                wire.sendall(call)
                if reader.readline().startswith(b"*"):
                    for _ in range(12):
                        reader.readline()
            took.append((time.perf_counter() - begin) * 1e3)
    return {"drop_ms": statistics.median(took)}


def memory(server: Server) -> dict:
    """Bytes beside key and value of small keys, and memory over payload of larger values."""
    found = {}
    with server.connect(True) as wire:
        reader = wire.makefile("rb")

        def fill(request: bytes, count: int, size: int) -> int:
            before = server.resident()
            value, payload = b"v" * size, 0
            for begin in range(0, count, 200):
                names = [b"{%s}%08d" % (request, n) for n in range(begin, min(begin + 200, count))]
                payload += sum(len(name) + size for name in names)
                wire.sendall(b"".join(command(b"SET", name, value) for name in names))
                for _ in names:
                    reader.readline()
            return server.resident() - before, payload

        grown, payload = fill(b"s", 500_000, 32)
        found["beside_small_key_bytes"] = (grown - payload) / 500_000
        for size, count in [(65_536, 4_000), (100_000, 3_000), (1_000_000, 300)]:
            grown, payload = fill(b"m%d" % size, count, size)
            found[f"memory_per_payload_{size}"] = grown / payload
    return found


def cycles(server: Server) -> dict:
    """A million puts of mixed sizes, each hundred in a request that is then dropped: memory that stays."""
    chance, blob = random.Random(1), os.urandom(1 << 20)
    sizes, weights = [16, 100, 1_000, 5_000, 20_000, 70_000, 300_000], [30, 30, 20, 10, 6, 3, 1]
    with server.connect(True) as wire:
        reader = wire.makefile("rb")

        def turn(request: int) -> None:
            names = [b"{r%d}%d" % (request, n) for n in range(100)]
            calls = []
            for name, size in zip(names, chance.choices(sizes, weights, k=100)):
                place = chance.randrange(1 << 19)
                calls.append(command(b"SET", name, blob[place : place + size]))
            last = command(b"UNLINK", *names) if server.kind == "redis" else command(b"BUCKET.DROP", b"r%d" % request, b"1")
            wire.sendall(b"".join(calls) + last)
            for _ in names:
                if (said := reader.readline()) != b"+OK\r\n":
                    raise SystemExit(f"SET was answered {said!r}")
            if reader.readline().startswith(b"*"):
                for _ in range(12):
                    reader.readline()

        found = {"cycles_begin_mb": server.resident() / 1e6}
        for request in range(200):
            turn(request)
        time.sleep(3)
        found["cycles_warm_mb"] = server.resident() / 1e6
        for request in range(200, 10_200):
            turn(request)
        time.sleep(5)
        found["cycles_end_mb"] = server.resident() / 1e6
    return found


CASES = [
    (size, test, near, clients)
    for size in (1_000, 65_536, 1_048_576)
    for test in ("get", "set")
    for near in (False, True)
    for clients in (1, 50)
]
COUNTS = {1_000: 100_000, 65_536: 15_000, 1_048_576: 1_200}
PIPELINED = [
    (size, test, near) for size in (1_000, 65_536, 1_048_576) for test in ("get", "set") for near in (False, True)
]
DEPTHS = {1_000: 100, 65_536: 8, 1_048_576: 2}
PIPELINED_COUNTS = {1_000: 800_000, 65_536: 30_000, 1_048_576: 2_400}


def measure(rounds: int, brief: bool) -> dict:
    raw = {"redis": [], "store": [], "bare": []}
    for turn in range(rounds):
        folder = pathlib.Path(tempfile.mkdtemp())
        for kind in ("redis", "store") if turn % 2 == 0 else ("store", "redis"):
            print(f"round {turn + 1} of {rounds}: {kind}", flush=True)
            server, found = Server(kind, folder), {}
            for size, test, near, clients in CASES:
                count = COUNTS[size] // (10 if brief else 1) // (3 if clients == 1 else 1)
                name = f"{test} {size} {'unix' if near else 'tcp'} {clients}"
                found[name] = benchmark(server, near, test, size, clients, count)
            for size, test, near in PIPELINED:
                count = PIPELINED_COUNTS[size] // (10 if brief else 1)
                name = f"pipelined {test} {size} {'unix' if near else 'tcp'}"
                found[name] = pipelined(server, near, test, size, DEPTHS[size], count)
            server.stop()
            for measured in (huge, beside_large, lambda it: drops(it, 100_000), memory, cycles):
                server = Server(kind, folder, forgets=measured is cycles)
                found.update({f"{name}": value for name, value in measured(server).items()})
                server.stop()
            raw[kind].append(found)
        raw["bare"].append(bare(folder))
        shutil.rmtree(folder)
    return raw


def median(rounds: list, name: str, field: str | None = None) -> float:
    return statistics.median(it[name] if field is None else it[name][field] for it in rounds)


def row(shown: str, raw: dict, name: str) -> str:
    ours, theirs = (median(raw[it], name, "per_s") for it in ("store", "redis"))
    cpu, their_cpu = (median(raw[it], name, "cpu_us") for it in ("store", "redis"))
    ratio = f"{cpu / their_cpu:.2f}" if their_cpu else "–"
    return f"| {shown} | {ours:,.0f} | {ours / theirs:.2f} | {cpu:.1f} | {ratio} |"


def table(raw: dict, about: str) -> str:
    store, redis = raw["store"], raw["redis"]
    text = ["# The store beside Redis", "", about, ""]
    text += ["| | operations per second | of Redis's | server's processor, µs | of Redis's |", "|---|---|---|---|---|"]
    for size, test, near, clients in CASES:
        name = f"{test} {size} {'unix' if near else 'tcp'} {clients}"
        shown = f"{test.upper()} {size} bytes, {'Unix socket' if near else 'TCP'}, {clients} connection{'s'[: clients > 1]}"
        text.append(row(shown, raw, name))
    for size, test, near in PIPELINED:
        name = f"pipelined {test} {size} {'unix' if near else 'tcp'}"
        text.append(row(f"{test.upper()} {size} bytes, {'Unix socket' if near else 'TCP'}, 4 connections, {DEPTHS[size]} deep", raw, name))
    text += ["", "| | the store | Redis | a bare socket |", "|---|---|---|---|"]
    rows = [
        ("SET of 64 MB over the Unix socket, ms", "set_ms", True),
        ("GET of 64 MB over the Unix socket, ms", "get_ms", True),
        ("p99 of GETs of 1,000 bytes, ms", "alone_p99_ms", False),
        ("the same, beside ten GETs of 10 MB a second", "beside_p99_ms", False),
        ("dropping 100,000 keys, ms (BUCKET.DROP, UNLINK)", "drop_ms", False),
        ("memory beside name and value of a key of 32 bytes, bytes", "beside_small_key_bytes", False),
        ("memory per payload, values of 65,536 bytes", "memory_per_payload_65536", False),
        ("memory per payload, values of 100,000 bytes", "memory_per_payload_100000", False),
        ("memory per payload, values of 1,000,000 bytes", "memory_per_payload_1000000", False),
        ("resident, MB: at the start", "cycles_begin_mb", False),
        ("resident, MB: after 20,000 puts that were dropped", "cycles_warm_mb", False),
        ("resident, MB: after a million more", "cycles_end_mb", False),
    ]
    for shown, name, has_bare in rows:
        floor = f"{median(raw['bare'], name):.2f}" if has_bare else "–"
        text.append(f"| {shown} | {median(store, name):,.4g} | {median(redis, name):,.4g} | {floor} |")
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--brief", action="store_true", help="a tenth of the operations, to look at")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "docs/benchmarks")
    given = parser.parse_args()
    raw = measure(given.rounds, given.brief)
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
    version = version.split("v=")[1].split()[0]
    processors = os.cpu_count()
    about = (
        f"Medians of {given.rounds} round{'s'[: given.rounds > 1]}, each server alone on the machine with its client "
        f"({processors} processors), Redis {version} without persistence, one I/O thread. "
        "Raw figures of each round are in `datastore.json`; `make bench` runs it anew."
    )
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "datastore.json").write_text(json.dumps({"redis": version, "rounds": raw}, indent=1))
    text = table(raw, about)
    (given.output / "datastore.md").write_text(text)
    print(text)


main()
