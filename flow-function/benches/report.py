#!/usr/bin/env python3
"""Runs the machine's benchmarks, keeps their raw figures, and prints them as the table of
docs/benchmarks/README.md.

    flow-function/benches/report.py [--kept]

With --kept it does not run them, but reads what the last run left in target/criterion. Raw figures go
to docs/benchmarks/machine.json: times in ns, median of criterion's samples, per event (`drive`,
`fold`, `snapshot`, `restore`) or per node (`read-flow`); memory in bytes.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = ROOT / "docs/benchmarks/machine.json"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CARGO = os.environ.get("CARGO", "cargo")
BENCH = [CARGO, "bench", "--quiet", "--package", "turlough-flow-function", "--features", "bench", "--bench"]


def times():
    """By shape and by what is measured, ns per event or node."""
    found = {}
    for estimates in sorted(TARGET.glob("criterion/machine/*/*/new/estimates.json")):
        benchmark = json.loads((estimates.parent / "benchmark.json").read_text())
        elements = benchmark["throughput"]["Elements"]
        median = json.loads(estimates.read_text())["median"]["point_estimate"]
        shape = found.setdefault(benchmark["value_str"], {})
        shape[benchmark["function_id"]] = round(median / elements, 1)
    return found


def order(shape):
    name, _, size = shape.rpartition("-")
    return (name, int(size) if size.isdigit() else 0)


def main():
    if "--kept" not in sys.argv[1:]:
        subprocess.run(BENCH + ["machine"], cwd=ROOT, check=True)
    memory = subprocess.run(BENCH + ["machine_memory"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    memory = json.loads(memory.stdout)
    figures = {
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
        "ns": dict(sorted(times().items(), key=lambda item: order(item[0]))),
        "memory": memory,
    }
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print("| graph | event, then what is wanted | fold | reading the flow, per node | memory at the peak |")
    print("|---|---|---|---|---|")
    for shape, ns in figures["ns"].items():
        row = [f"{ns[kind]:.0f} ns" if kind in ns else "–" for kind in ("drive", "fold", "read-flow")]
        held = memory[shape]
        print(f"| {shape} | {' | '.join(row)} | {held['bytes_peak']:.0f} bytes per {held['per']} |")


if __name__ == "__main__":
    main()
