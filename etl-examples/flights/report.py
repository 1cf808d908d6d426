#!/usr/bin/env python3
"""Prints the report of the flights pipeline: report.py DATABASE [RUN], where RUN is what
`turlough run flights --output json` printed."""

import json
import sqlite3
import sys


def table(title, head, rows):
    rows = [[("" if cell is None else f"{cell:,.2f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    print(f"\n{title}")
    for row in [head, ["-" * width for width in widths], *rows]:
        print("  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))))


def main():
    database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    if len(sys.argv) > 2:
        with open(sys.argv[2]) as file:
            run = json.load(file)
        steps = [[step["step"], step["status"], step.get("duration_ms")] for step in run["steps"] if "[" not in step["step"]]
        table(f"request {run['request_id']}: {run['status']} in {run['duration_ms']:.0f} ms", ["step", "status", "ms"], steps)

    flights, cancelled = database.execute("SELECT sum(flights), sum(cancelled) FROM month_delay").fetchone()
    mean = database.execute("SELECT sum(mean_dep_delay * (flights - cancelled)) / sum(flights - cancelled) FROM month_delay").fetchone()[0]
    carriers = database.execute("SELECT count(*) FROM carrier_delay").fetchone()[0]
    unnamed = database.execute("SELECT sum(flights) FROM route WHERE dest_name IS NULL").fetchone()[0]
    weather = database.execute("SELECT sum(flights) FROM weather_delay").fetchone()[0]
    rejected = database.execute("SELECT count(*) FROM rejected").fetchone()[0]
    runs = database.execute("SELECT count(*) FROM run").fetchone()[0]
    table("carriers by mean departure delay, in minutes", ["carrier", "flights", "cancelled", "departure", "arrival"],
          database.execute("SELECT coalesce(name, carrier), flights, cancelled, mean_dep_delay, mean_arr_delay FROM carrier_delay ORDER BY mean_dep_delay DESC"))
    table("summary", ["figure", "value"], [
        ["flights", flights], ["cancelled", cancelled], ["mean departure delay, minutes", f"{mean:.4f}"], ["carriers", carriers],
        ["flights to destinations without a known name", unnamed], ["flights with weather", weather], ["rows rejected", rejected], ["runs so far", runs],
    ])


if __name__ == "__main__":
    main()
