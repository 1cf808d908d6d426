#!/usr/bin/env python3
"""The gateway beside nginx as a plain reverse proxy: what a call that does nothing costs on the way.

Both stand before the same function, an nginx that answers from memory, and are driven by wrk and hey in
alternating rounds; the function by itself gives what is not theirs. A body of 1 GB then passes through the
gateway both ways. Raw figures go to docs/benchmarks/gateway.json, the table to docs/benchmarks/gateway.md.
Needs nginx, wrk and hey, which Debian has.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
GATEWAY = ROOT / "target/release/turlough-gateway"
HZ = os.sysconf("SC_CLK_TCK")
SIDES = ("function", "nginx", "gateway")
LARGE_BYTES = 1 << 30

PATHS = """client_body_temp_path {folder}/{name}1; proxy_temp_path {folder}/{name}2;
    fastcgi_temp_path {folder}/{name}3; uwsgi_temp_path {folder}/{name}4; scgi_temp_path {folder}/{name}5;"""

FUNCTION = """
daemon off; master_process off; pid {folder}/function.pid; error_log {folder}/function.err;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; {paths}
    server {{ listen 127.0.0.1:PORT; location / {{ return 200 "ok"; }} }}
}}
"""

# As many workers as the gateway has threads.
PROXY = """
daemon off; pid {folder}/proxy.pid; error_log {folder}/proxy.err; worker_processes auto;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; {paths}
    upstream function {{ server 127.0.0.1:{function}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location /function/it {{
            rewrite ^/function/it(.*)$ /$1 break;
            proxy_pass http://function; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Host $host;
        }}
    }}
}}
"""


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(folder.name))
    return found


def cpu_s(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / HZ


def peak_bytes(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


def wrk(url: str, connections: int, seconds: int) -> dict:
    call = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    told = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(told)
    units = {"us": 1, "ms": 1e3, "s": 1e6}
    share = {p: re.search(rf"\s{p}%\s+([\d.]+)(us|ms|s)", told) for p in (50, 99)}
    requests = int(re.search(r"(\d+) requests in", told)[1])
    found = {f"p{p}_us": float(it[1]) * units[it[2]] for p, it in share.items()}
    return {"requests": requests, "per_s": requests / seconds, **found}


def hey(url: str, connections: int, count: int) -> dict:
    call = ["hey", "-n", str(count), "-c", str(connections), url]
    told = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    answered = int(re.search(r"\[200\]\s+(\d+) responses", told)[1])
    share = {p: re.search(rf"{p}% in ([\d.]+) secs", told) for p in (50, 99)}
    found = {f"p{p}_us": float(it[1]) * 1e6 for p, it in share.items()}
    return {"requests": answered, "per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1]), **found}


class Running:
    """The gateway with its function, and nginx before the same."""

    def __init__(self, folder: pathlib.Path) -> None:
        def fill(text: str, name: str, **more: object) -> str:
            return text.format(folder=folder, paths=PATHS.format(folder=folder, name=name), **more)

        (folder / "function.conf").write_text(fill(FUNCTION, "f"))
        script = f"sed s/PORT/$port/ {folder}/function.conf > {folder}/here.conf\n"
        script += f"echo $port > {folder}/port\nexec nginx -p {folder} -c {folder}/here.conf\n"
        (folder / "function.sh").write_text(script)
        stack = "functions:\n  it:\n    handler: .\n    annotations: {turlough.process: sh function.sh}\n"
        stack += f"  echo:\n    handler: .\n    annotations: {{turlough.process: python3 {__file__} --echo}}\n"
        (folder / "stack.yaml").write_text(stack)
        port, proxy = free_port(), free_port()
        call = [str(GATEWAY), "--stack", str(folder / "stack.yaml"), "--listen", f"127.0.0.1:{port}"]
        self.gateway = subprocess.Popen([*call, "--metrics-listen", "127.0.0.1:0"], stderr=subprocess.DEVNULL)
        self.port = port
        self.urls = {"gateway": f"http://127.0.0.1:{port}/function/it"}
        self.until_up("gateway")
        function = int((folder / "port").read_text())
        (folder / "proxy.conf").write_text(fill(PROXY, "p", function=function, port=proxy))
        self.nginx = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "proxy.conf")], stderr=subprocess.DEVNULL)
        self.urls |= {"nginx": f"http://127.0.0.1:{proxy}/function/it", "function": f"http://127.0.0.1:{function}/"}
        self.until_up("nginx")
        self.pids = {"gateway": [self.gateway.pid], "nginx": family(self.nginx.pid)}

    def until_up(self, side: str) -> None:
        for _ in range(1000):
            if subprocess.run(["curl", "-sf", self.urls[side]], capture_output=True).stdout == b"ok":
                return
            time.sleep(0.02)
        raise SystemExit(f"{side} does not come up at {self.urls[side]}")

    def measure(self, side: str, drive) -> dict:
        pids = self.pids.get(side, [])
        before = cpu_s(pids)
        found = drive(self.urls[side])
        return {**found, "cpu_us": (cpu_s(pids) - before) / found["requests"] * 1e6}

    def stop(self) -> None:
        for process in (self.nginx, self.gateway):
            process.send_signal(signal.SIGTERM)
            process.wait()


def pass_large(port: int) -> dict:
    """1 GB to a function that sends it back, and the most memory that the gateway had."""
    part, left = os.urandom(1 << 20), LARGE_BYTES
    with socket.create_connection(("127.0.0.1", port)) as wire:
        head = f"POST /function/echo HTTP/1.1\r\nHost: it\r\nContent-Length: {LARGE_BYTES}\r\n\r\n"
        begin = time.perf_counter()
        wire.sendall(head.encode())
        sender = threading.Thread(target=lambda: [wire.sendall(part) for _ in range(LARGE_BYTES >> 20)])
        sender.start()
        answer = wire.makefile("rb")
        status = answer.readline()
        while (line := answer.readline()) != b"\r\n":
            if line.lower().startswith(b"transfer-encoding"):
                raise SystemExit("the echo's length was lost")
        while left and (got := answer.read(min(left, 1 << 20))):
            if got != part[: len(got)]:
                raise SystemExit("what came back is not what was sent")
            left -= len(got)
        sender.join()
    if left or b" 200 " not in status:
        raise SystemExit(f"{left} bytes did not come back: {status!r}")
    return {"seconds": time.perf_counter() - begin}


def echo() -> None:
    """A function that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", int(os.environ["port"])))
    while True:
        wire, _ = listener.accept()
        threading.Thread(target=echo_one, args=(wire,), daemon=True).start()


def echo_one(wire: socket.socket) -> None:
    with wire, wire.makefile("rb") as asked:
        asked.readline()
        length = 0
        while (line := asked.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        wire.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n".encode())
        while length and (part := asked.read1(min(length, 1 << 20))):
            wire.sendall(part)
            length -= len(part)


CASES = {
    "wrk, 1 connection": lambda seconds: lambda url: wrk(url, 1, seconds),
    "wrk, 50 connections": lambda seconds: lambda url: wrk(url, 50, seconds),
    "hey, 50 connections": lambda seconds: lambda url: hey(url, 50, 10_000 * seconds),
}


def median(rounds: list, side: str, case: str, field: str) -> float:
    return statistics.median(it[side][case][field] for it in rounds)


def table(raw: dict, about: str) -> str:
    rounds = raw["rounds"]
    text = ["# The gateway beside nginx", "", about, ""]
    text += ["| | calls per second | p50 | p99 | processor per call | of nginx's | added p50 | of nginx's |", "|---|---|---|---|---|---|---|---|"]
    for case in CASES:
        alone = median(rounds, "function", case, "p50_us")
        theirs = {field: median(rounds, "nginx", case, field) for field in ("cpu_us", "p50_us")}
        for side in SIDES:
            ours = {field: median(rounds, side, case, field) for field in ("per_s", "p50_us", "p99_us", "cpu_us")}
            added, their_added = ours["p50_us"] - alone, theirs["p50_us"] - alone
            row = [f"{side}, {case}", f"{ours['per_s']:,.0f}", f"{ours['p50_us']:,.0f} µs", f"{ours['p99_us']:,.0f} µs"]
            if side == "function":
                row += ["–"] * 4
            else:
                row += [f"{ours['cpu_us']:.1f} µs", f"{ours['cpu_us'] / theirs['cpu_us']:.2f}", f"{added:,.0f} µs", f"{added / their_added:.2f}"]
            text.append("| " + " | ".join(row) + " |")
    seconds = statistics.median(it["large"]["seconds"] for it in rounds)
    peak = max(it["large"]["peak_bytes"] for it in rounds)
    text += ["", f"1 GB through the gateway and back takes {seconds:.1f} s; the gateway had at most {peak / 1e6:.1f} MB of memory, with all of the above."]
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "docs/benchmarks")
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.echo:
        return echo()
    missing = [tool for tool in ("nginx", "wrk", "hey", "curl") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}; on Debian: apt-get install {' '.join(missing)}")
    raw = {"rounds": []}
    for turn in range(given.rounds):
        with tempfile.TemporaryDirectory() as name:
            running, found = Running(pathlib.Path(name)), {side: {} for side in SIDES}
            for case, drive in CASES.items():
                for side in SIDES if turn % 2 == 0 else SIDES[::-1]:
                    print(f"round {turn + 1} of {given.rounds}: {side}, {case}", flush=True)
                    found[side][case] = running.measure(side, drive(given.seconds))
            found["large"] = pass_large(running.port)
            found["large"]["peak_bytes"] = peak_bytes(running.gateway.pid)
            running.stop()
            raw["rounds"].append(found)
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip().split("/")[1]
    about = (
        f"Medians of {given.rounds} rounds on {os.cpu_count()} processors, which the client, the proxy and the function share. nginx "
        f"{version} as a plain reverse proxy: HTTP/1.1, connections kept to the function, no access log, a worker for each processor. "
        "Both put `X-Forwarded-For` and `X-Forwarded-Host` on a call; the gateway also an id, times and its metrics. *Added* is what the "
        "median of a call is longer by than that of the function called directly. Raw figures of each round are in `gateway.json`; "
        "`make bench` runs it anew."
    )
    text = table(raw, about)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "gateway.json").write_text(json.dumps({"nginx": version, **raw}, indent=1))
    (given.output / "gateway.md").write_text(text)
    print(text)


main()
