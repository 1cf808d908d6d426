#!/usr/bin/env python3
"""Times the flights pipeline against the pandas peer: alternating rounds, medians, memory.

    .venv/bin/python etl-examples/flights/bench.py [--rounds 5]

The pipeline's time is from the HTTP request at the gateway to its answer, start-up not included;
the peer's is its own, start-up and imports not included. Memory is the peak of the sum of PSS over
all processes of each side, sampled every 2 ms in rounds of its own, since sampling costs time.
Raw rounds go to docs/benchmarks/flights.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TURLOUGH = ROOT / "target/release/turlough"
OUT = ROOT / "docs/benchmarks/flights.json"


def descendants(pid):
    """The process and all below it."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    todo.extend(int(child) for child in file.read().split())
        except OSError:
            pass
    return found


def pss(pids):
    """Sum of the proportional set sizes, in bytes."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for line in file:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
                        break
        except OSError:
            pass
    return total


class Sampler:
    """Samples the PSS of a process tree until it is stopped; `peak` is the highest sum."""

    def __init__(self, pid):
        self.pid, self.peak, self.going = pid, 0, True
        self.thread = threading.Thread(target=self.run)

    def run(self):
        pids = descendants(self.pid)
        count = 0
        while self.going:
            if count % 20 == 0:
                pids = descendants(self.pid)
            count += 1
            self.peak = max(self.peak, pss(pids))
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()


class Platform:
    """`turlough dev` with the flights stack, on free ports."""

    def __enter__(self):
        command = [TURLOUGH, "dev", "--quiet", "--output", "json", "-f", HERE / "stack.yaml",
                   "--gateway-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self.process.stdout.readline())
        return self

    def run(self):
        request = urllib.request.Request(f"{self.ready['gateway']}/function/flights/flights", data=b"{}",
                                         headers={"content-type": "application/json"})
        begin = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            summary = json.load(answer)
        seconds = time.perf_counter() - begin
        if summary["flights"] != 336776:
            sys.exit(f"bench: the pipeline gave {summary}")
        return seconds

    def store_bytes(self):
        with urllib.request.urlopen(f"{self.ready['gateway']}/function/flights/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("turlough_store_bytes"):
                    return int(float(line.split()[-1]))
        sys.exit("bench: no metric turlough_store_bytes")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def peer(*arguments):
    """One run of the pandas peer; what it says of itself."""
    command = [sys.executable, HERE / "pandas_peer.py", *arguments]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def peer_peak():
    process = subprocess.Popen([sys.executable, HERE / "pandas_peer.py"], cwd=ROOT, stdout=subprocess.DEVNULL)
    with Sampler(process.pid) as sampler:
        process.wait()
    return sampler.peak


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    rounds = arguments.parse_args().rounds

    ours, theirs = [], []
    with Platform() as platform_:
        platform_.run()  # the first one pages the binary in; the peer's imports are not counted either
        for number in range(rounds):
            ours.append(platform_.run())
            theirs.append(peer()["seconds"])
            print(f"round {number + 1}: pipeline {ours[-1]:.3f} s, pandas {theirs[-1]:.3f} s", flush=True)
        held = platform_.store_bytes()
    # Memory is measured from a fresh start, so that it includes start-up on both sides; ours over as
    # many requests, since an allocator keeps some of what each one used.
    with Platform() as platform_, Sampler(platform_.process.pid) as sampler:
        for _ in range(rounds):
            platform_.run()
    result = {
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
        "pipeline_seconds": ours, "pandas_seconds": theirs,
        "pipeline_median_s": statistics.median(ours), "pandas_median_s": statistics.median(theirs),
        "ratio": statistics.median(ours) / statistics.median(theirs),
        "pipeline_peak_pss_bytes": sampler.peak, "pandas_peak_pss_bytes": peer_peak(),
        "store_bytes_afterwards": held,
    }
    result["memory_ratio"] = result["pipeline_peak_pss_bytes"] / result["pandas_peak_pss_bytes"]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: value for key, value in result.items() if not isinstance(value, (list, dict))}, indent=2))
    print(f"raw figures: {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
