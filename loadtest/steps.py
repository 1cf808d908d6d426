#!/usr/bin/env python3
"""What a step costs: chains, fan-outs and throughput on each state, beside Restate and DBOS.

    loadtest/steps.py [--sides memory,nats,restate] [--parts chain,fanout] [--rounds 5] [--turns 20]

Everything runs at once and is idle but for the side whose turn it is; rounds go through all sides. One
client, turlough-loadtest, drives all of them and checks every answer. Raw figures go to
docs/benchmarks/steps.json and the table into docs/benchmarks/README.md; where the machine was busy
before the run (load of 0.5 or more), both go to .cache/bench, to be looked at and not believed.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import report
from sides import NATS_SERVER, RELEASE, ROOT, Turlough, all_sides, until

DOCS = ROOT / "docs/benchmarks"
BUSY = ROOT / ".cache/bench"
LOAD_MAX = 0.5
LIST_SECONDS_MAX = 600
PARTS = ["chain", "fanout", "throughput", "growth", "open", "idle"]
TICKS = os.sysconf("SC_CLK_TCK")


def loadtest(*arguments):
    """One run of turlough-loadtest; what it reports."""
    command = [RELEASE / "turlough-loadtest", *map(str, arguments), "--output", "json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"steps: {' '.join(map(str, command))} failed:\n{ran.stderr}{ran.stdout}")
    return json.loads(ran.stdout)


def rounds_of(number, jobs):
    """Runs all jobs in turns, and gives the reports by job. Each round begins with another one."""
    found = {name: [] for name in jobs}
    names = list(jobs)
    for turn in range(number):
        begin = time.monotonic()
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            found[name].append(jobs[name]())
        print(f"  round {turn + 1} of {number}: {time.monotonic() - begin:.0f} s", flush=True)
    return found


def measure_chains(sides, options, baseline):
    jobs = {}
    for side in sides:
        for kind, whom in side.kinds.items():
            # A peer is compared with the same calls through the same gateway.
            peer = [] if isinstance(side, Turlough) else ["--baseline-url", baseline]
            # A peer takes a hundred times as long.
            turns = options.turns if isinstance(side, Turlough) else max(1, options.turns // 5)
            jobs[f"{side.name}/{kind}"] = lambda whom=whom, peer=peer, turns=turns: loadtest(
                "chain", *whom, *peer, "--raw", "--rounds", 1, "--requests", turns, "--warm-up", 3)
    return rounds_of(options.rounds, jobs)


def measure_fanouts(sides, options):
    jobs = {side.name: lambda whom=side.fanout: loadtest(
        "fanout", *whom, "--branches", "10,100,1000", "--raw", "--rounds", 1,
        "--requests", max(1, options.turns // 5), "--warm-up", 1)
        for side in sides}
    return rounds_of(options.rounds, jobs)


def measure_throughput(sides, options):
    jobs = {side.name: lambda whom=side.throughput: loadtest(
        "throughput", *whom, "--steps", 10, "--concurrency", 64, "--seconds", options.seconds)
        for side in sides}
    return rounds_of(options.rounds, jobs)


def measure_growth(sides, options):
    """Small beside large: what one more costs must be the same."""
    jobs = {}
    for side in sides:
        for what, size, extra in [("chain", "--steps", []), ("fanout", "--branches", [])]:
            for sizes in ["100,1000", "1000,10000"]:
                jobs[f"{side.name}/{what}/{sizes}"] = lambda whom=side.fanout, what=what, size=size, sizes=sizes: (
                    loadtest(what, *whom, size, sizes, "--rounds", 1, "--requests", 3, "--warm-up", 1))
    return rounds_of(min(3, options.rounds), jobs)


def measure_open(side, options):
    """Costs beside sleeping requests; then, where the state outlives it, a start that finds them."""
    keep = [] if side.name == "memory" else ["--keep"]
    found = loadtest("open", *side.fanout, "--open", options.open, "--rounds", options.rounds, "--requests",
                     options.turns, *keep)
    found["pss_bytes"] = {name: pss(pid) for name, pid in side.pids().items()}
    if keep:
        begin = time.monotonic()
        found["restart_seconds"] = side.restart_platform()
        most = found["rows"][-1]["open"]
        # Its keeper reads all logs anew.
        until("the list of what sleeps", lambda: sleeping(side) >= most, LIST_SECONDS_MAX)
        found["listed_seconds"] = time.monotonic() - begin
    return found


def sleeping(side):
    """How many sleeping requests are listed, page by page."""
    number, cursor = 0, ""
    while True:
        url = f"{side.gateway}/function/flows/requests?status=sleeping&limit=1000{cursor}"
        with urllib.request.urlopen(url) as answer:
            page = json.load(answer)
        number += len(page["requests"])
        if not page.get("next"):
            return number
        cursor = f"&before={page['next']}"


def measure_idle(side, seconds=10):
    """Share of a core that each process uses while nothing is asked of it, in %."""
    before = {name: cpu(pid) for name, pid in side.pids().items()}
    time.sleep(seconds)
    return {name: round(100 * (cpu(pid) - before[name]) / seconds, 3) for name, pid in side.pids().items()}


def cpu(pid):
    """Seconds of processor, of the process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss(pid):
    """Proportional set size, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def run(options, folder):
    found = {"machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load_before": os.getloadavg()[0]},
             "rounds": options.rounds, "turns": options.turns}
    makers = all_sides(folder)
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(makers[name]()) for name in options.sides]
        found["durability"] = {side.name: side.durability for side in sides}
        ours = [side for side in sides if isinstance(side, Turlough)]
        if not ours:
            sys.exit("steps: name one of ours too, whose gateway calls are compared with")
        found["idle_percent"] = {}
        if "idle" in options.parts:
            print("idle", flush=True)
            found["idle_percent"] = {side.name: measure_idle(side) for side in ours}
        measures = {
            "chain": lambda: measure_chains(sides, options, f"{ours[0].gateway}/function/noop"),
            "fanout": lambda: measure_fanouts(sides, options),
            "throughput": lambda: measure_throughput(sides, options),
            "growth": lambda: measure_growth([s for s in ours if s.name in ("memory", "nats")], options),
        }
        for part, measure in measures.items():
            if part in options.parts:
                print(part, flush=True)
                found[part] = measure()
    if "open" in options.parts:
        # Alone: what sleeps takes memory.
        print("open", flush=True)
        found["open"] = {}
        for name in [name for name in options.sides if name in ("memory", "nats")]:
            with all_sides(folder / "open")[name]() as side:
                found["open"][name] = measure_open(side, options)
    return found


def names(allowed):
    def parse(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return chosen
    return parse


def main():
    sides = list(all_sides(Path()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=names(sides), default=sides, help="default: all")
    parser.add_argument("--parts", type=names(PARTS), default=PARTS, help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=20, help="requests of each size in a round")
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement of throughput")
    parser.add_argument("--open", default="10,1000,100000", help="sleeping requests")
    options = parser.parse_args()
    for needed, remedy in [(RELEASE / "turlough-loadtest", "make build"), (NATS_SERVER, "make tools")]:
        if not needed.exists():
            sys.exit(f"steps: {needed.relative_to(ROOT)} is missing: {remedy}")

    load = os.getloadavg()[0]
    whole = options.sides == sides and options.parts == PARTS
    quiet = load < LOAD_MAX and whole
    if load >= LOAD_MAX:
        print(f"steps: the machine is busy (load {load:.2f}); the figures are not for docs/", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="turlough-steps-"))
    folder.chmod(0o755)  # Postgres runs as another user
    found = run(options, folder)
    shutil.rmtree(folder)

    out = (DOCS if quiet else BUSY) / "steps.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(report.compact(found))
    table = report.markdown(found)
    print(table)
    if quiet:
        report.replace(DOCS / "README.md", table)
    else:
        (BUSY / "steps.md").write_text(table)
    print(f"raw figures: {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
