#!/usr/bin/env python3
"""The flights report made by one pandas process: the measure that the pipeline is held against.

It reads the same five files with the same checks of every row, joins, aggregates and loads the
same tables in one transaction, vectorised throughout. It prints JSON: `seconds` without start-up
and imports, and the peak of its memory in bytes.

    pandas_peer.py [--data DIR] [--out FILE] [--rejected-max N]
    pandas_peer.py --check FILE     also compares the tables of FILE with its own, means to 1e-9;
                                    ends with status 1 when they differ

A file is read with typed columns, which is the fast way and fails on the first field of a wrong
type; then it is read again as text and the bad rows are singled out. Rejected rows are compared
by file and line: the wording of a reason is each program's own. One difference is left: pandas
takes missing fields at the end of a row for null, so a row of airports.csv that lacks only its
last field, which may be null, passes here. (In every other file the last field is required.)
"""

import argparse
import json
import resource
import sqlite3
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
YEAR = 2013
START = np.datetime64(f"{YEAR}-01-01T00", "h")
ORIGINS = ["EWR", "JFK", "LGA"]

# Kinds of columns: (kind, null allowed, smallest, largest); a code's bounds are its length.
INT, CLOCK, NUMBER, CODE, TEXT, HOUR = "int", "clock", "number", "code", "text", "hour"
SCHEMAS = {
    "flights.csv": {
        "year": (INT, False, YEAR, YEAR),
        "month": (INT, False, 1, 12),
        "day": (INT, False, 1, 31),
        "dep_time": (CLOCK, True, 1, 2400),
        "sched_dep_time": (CLOCK, False, 1, 2400),
        "dep_delay": (INT, True, -1440, 2880),
        "arr_time": (CLOCK, True, 1, 2400),
        "sched_arr_time": (CLOCK, False, 1, 2400),
        "arr_delay": (INT, True, -1440, 2880),
        "carrier": (CODE, False, 2, 2),
        "flight": (INT, False, 1, 9999),
        "tailnum": (CODE, True, 3, 6),
        "origin": (CODE, False, 3, 3),
        "dest": (CODE, False, 3, 3),
        "air_time": (INT, True, 1, 1440),
        "distance": (INT, False, 1, 12500),
        "hour": (INT, False, 0, 23),
        "minute": (INT, False, 0, 59),
        "time_hour": (HOUR, False, None, None),
    },
    "weather.csv": {
        "origin": (CODE, False, 3, 3),
        "year": (INT, False, YEAR, YEAR),
        "month": (INT, False, 1, 12),
        "day": (INT, False, 1, 31),
        "hour": (INT, False, 0, 23),
        "temp": (NUMBER, True, -80, 140),
        "dewp": (NUMBER, True, -80, 140),
        "humid": (NUMBER, True, 0, 100),
        "wind_dir": (INT, True, 0, 360),
        "wind_speed": (NUMBER, True, 0, 1200),
        "wind_gust": (NUMBER, True, 0, 1200),
        "precip": (NUMBER, True, 0, 20),
        "pressure": (NUMBER, True, 850, 1100),
        "visib": (NUMBER, True, 0, 100),
        "time_hour": (HOUR, False, None, None),
    },
    "airlines.csv": {"carrier": (CODE, False, 2, 2), "name": (TEXT, False, None, None)},
    "airports.csv": {
        "faa": (CODE, False, 3, 3),
        "name": (TEXT, False, None, None),
        "lat": (NUMBER, False, -90, 90),
        "lon": (NUMBER, False, -180, 180),
        "alt": (INT, False, -1500, 30000),
        "tz": (INT, False, -12, 14),
        "dst": (CODE, False, 1, 1),
        "tzone": (TEXT, True, None, None),
    },
    "planes.csv": {
        "tailnum": (CODE, False, 3, 6),
        "year": (INT, True, 1900, YEAR),
        "type": (TEXT, False, None, None),
        "manufacturer": (TEXT, False, None, None),
        "model": (TEXT, False, None, None),
        "engines": (INT, False, 1, 8),
        "seats": (INT, False, 1, 900),
        "speed": (INT, True, 1, 1000),
        "engine": (TEXT, False, None, None),
    },
}
KEYS = {"weather.csv": ["origin", "time_hour"], "airlines.csv": ["carrier"],
        "airports.csv": ["faa"], "planes.csv": ["tailnum"]}  # fmt: skip

SCHEMA = """
CREATE TABLE IF NOT EXISTS carrier_delay (
    carrier TEXT PRIMARY KEY, name TEXT, flights INTEGER NOT NULL, cancelled INTEGER NOT NULL,
    mean_dep_delay REAL, mean_arr_delay REAL);
CREATE TABLE IF NOT EXISTS month_delay (
    month INTEGER PRIMARY KEY, flights INTEGER NOT NULL, cancelled INTEGER NOT NULL,
    mean_dep_delay REAL, mean_arr_delay REAL);
CREATE TABLE IF NOT EXISTS route (
    origin TEXT NOT NULL, dest TEXT NOT NULL, dest_name TEXT, flights INTEGER NOT NULL,
    mean_arr_delay REAL, PRIMARY KEY (origin, dest));
CREATE TABLE IF NOT EXISTS weather_delay (
    origin TEXT NOT NULL, wet INTEGER, flights INTEGER NOT NULL, mean_dep_delay REAL);
CREATE TABLE IF NOT EXISTS rejected (
    source TEXT NOT NULL, line INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS run (
    request_id TEXT PRIMARY KEY, flights_read INTEGER NOT NULL, rejected INTEGER NOT NULL,
    finished_at TEXT NOT NULL);
"""
TABLES = ["carrier_delay", "month_delay", "route", "weather_delay", "rejected"]


def dtype(kind, null):
    """The narrowest type that the C parser fills fast; integers with nulls come as floats."""
    if kind in (INT, CLOCK) and not null:
        return "int32"
    if kind in (INT, CLOCK, NUMBER):
        # A wide float keeps an integer that is far out of range as it is.
        return "float64"
    return "category"


def extract(path, rejected_max):
    """The good rows of a file, the number of rows read, and (file, line, reason) of the others."""
    columns = SCHEMAS[path.name]
    with open(path, "rb") as file:
        header = file.readline().rstrip(b"\r\n")
        if header != ",".join(columns).encode():
            sys.exit(f"pandas_peer: {path} line 1: wrong header {header[:80]!r}")
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            sys.exit(f"pandas_peer: {path}: the file is truncated")
    options = {"na_values": ["NA"], "keep_default_na": False, "skip_blank_lines": False,
               "engine": "c", "encoding": "utf-8"}  # fmt: skip
    rejected = []
    try:
        types = {name: dtype(kind, null) for name, (kind, null, *_) in columns.items()}
        table = pd.read_csv(path, dtype=types, **options)
        read = len(table)
    except (ValueError, pd.errors.ParserError):
        table, read, rejected = extract_text(path, columns, options)
    table, bad = check(table, columns, KEYS.get(path.name))
    rejected += [(path.name, int(line) + 2, reason) for line, reason in bad]
    limit(path.name, rejected, rejected_max)
    return table, read, rejected


def extract_text(path, columns, options):
    """The slow way, once a file has a field of a wrong type or a row that is too long."""
    long = []

    def too_long(fields):
        long.append(fields)
        return ["\0"] * len(columns)

    text = pd.read_csv(path, dtype=str, **options | {"engine": "python"}, on_bad_lines=too_long)
    table, bad = {}, pd.Series("", index=text.index)
    for name, (kind, null, *_) in columns.items():
        column = text[name]
        if kind in (INT, CLOCK, NUMBER):
            numbers = pd.to_numeric(column, errors="coerce")
            if kind != NUMBER:
                numbers = numbers.where(column.str.fullmatch(r"-?\d{1,6}", na=True))
            bad = bad.mask((bad == "") & numbers.isna() & column.notna(), f"{name} is not a number")
            if not null:
                bad = bad.mask((bad == "") & column.isna(), f"{name} is null")
            table[name] = numbers
        else:
            table[name] = column.astype("category")
    table = pd.DataFrame(table)
    good = bad == ""
    rejected = [(path.name, int(line) + 2, reason) for line, reason in bad[~good].items()]
    return table[good], len(text), rejected


def check(table, columns, keys):
    """Holds every column against its kind and range; the first fault of a row is its reason."""
    faults = []
    for name, (kind, null, low, high) in columns.items():
        column = table[name]
        if kind in (INT, CLOCK, NUMBER):
            values = column.to_numpy()
            wrong = ~((values >= low) & (values <= high))
            if kind == CLOCK:
                wrong |= values % 100 > 59
            if kind != NUMBER and values.dtype.kind == "f":
                wrong |= values % 1 != 0
            if null:
                wrong &= ~np.isnan(values)
        else:
            # A few values stand for all rows: the check is made once for each of them.
            values = column.cat.categories.astype(str)
            if kind == CODE:
                fine = values.str.fullmatch(f"[A-Z0-9]{{{low},{high}}}")
                if name == "origin":
                    fine &= values.isin(ORIGINS)
            elif kind == HOUR:
                fine = values.str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00Z")
            else:
                fine = (values != "") & ~values.str.contains(r"[\x00-\x1f\x7f]")
            # The code of a null is -1, the last place.
            wrong = ~np.append(np.asarray(fine, dtype=bool), null)[column.cat.codes.to_numpy()]
        faults.append((name, wrong))
    if "time_hour" in columns:
        faults += check_hours(table)
    if "dep_delay" in columns:
        faults += check_flights(table)
    bad = np.logical_or.reduce([wrong for _, wrong in faults])
    if keys:
        again = np.zeros(len(table), dtype=bool)
        again[~bad] = table.loc[~bad, keys].duplicated().to_numpy()
        faults.append(("duplicate", again))
        bad |= again
    if not bad.any():
        return table, []
    reasons = []
    for row in np.flatnonzero(bad):
        reasons.append((table.index[row], next(name for name, wrong in faults if wrong[row])))
    return table[~bad], reasons


def hours_of(table):
    """`time_hour` as hours since the start of the year; far below zero where it is not a time."""
    column = table["time_hour"]
    times = pd.to_datetime(column.cat.categories, format="%Y-%m-%dT%H:%M:%SZ", errors="coerce")
    hours = (times.to_numpy() - START) / np.timedelta64(1, "h")
    return np.append(np.nan_to_num(hours, nan=-1e6), -1e6)[column.cat.codes.to_numpy()].astype("int32")


def check_hours(table):
    lengths = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    before = np.cumsum(lengths)[:-1]
    month = np.clip(table["month"].to_numpy(), 1, 12).astype("int32")
    day = table["day"].to_numpy()
    local = (before[month - 1] + day - 1) * 24 + table["hour"].to_numpy()
    offset = hours_of(table) - local
    return [("day", day > lengths[month]), ("time_hour", (offset != 4) & (offset != 5))]


def check_flights(table):
    null = {name: table[name].isna().to_numpy()
            for name in ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")}  # fmt: skip
    clock = table["hour"].to_numpy() * 100 + table["minute"].to_numpy()
    return [
        ("sched_dep_time", clock != table["sched_dep_time"].to_numpy()),
        ("dep_delay", null["dep_time"] != null["dep_delay"]),
        ("arr_time", null["dep_time"] & ~null["arr_time"]),
        ("arr_delay", null["arr_time"] & ~null["arr_delay"]),
        ("air_time", null["air_time"] != null["arr_delay"]),
    ]


def limit(whole, rejected, rejected_max):
    if len(rejected) > rejected_max:
        sys.exit(f"pandas_peer: {len(rejected)} rows of {whole} rejected, limit {rejected_max}")


def transform(flights, weather):
    """What the report groups by and sums, a row for each flight."""
    joined = flights[["month", "carrier", "origin", "dest", "dep_delay", "arr_delay"]].copy()
    joined["cancelled"] = flights["dep_time"].isna()
    joined["time_hour"] = hours_of(flights)
    sky = pd.DataFrame({"origin": weather["origin"], "time_hour": hours_of(weather)})
    # 0 dry, 1 wet, -1 not measured; null once joined: no row.
    precip = weather["precip"].to_numpy()
    sky["wet"] = np.where(np.isnan(precip), -1, precip > 0).astype("int8")
    joined["origin"] = pd.Categorical(joined["origin"].astype(str), categories=ORIGINS)
    sky["origin"] = pd.Categorical(sky["origin"].astype(str), categories=ORIGINS)
    return joined.merge(sky, on=["origin", "time_hour"], how="left")


def report(joined, airlines, airports):
    """The tables of the report as lists of rows."""
    names = airlines.set_index("carrier")["name"].astype(str)
    places = airports.set_index("faa")["name"].astype(str)

    def grouped(rows, keys):
        return rows.groupby(keys, observed=True, sort=True).agg(
            flights=("cancelled", "size"), cancelled=("cancelled", "sum"),
            mean_dep_delay=("dep_delay", "mean"), mean_arr_delay=("arr_delay", "mean"),
        ).reset_index()  # fmt: skip

    carriers = grouped(joined, ["carrier"])
    carriers.insert(1, "name", carriers["carrier"].astype(str).map(names))
    months = grouped(joined, ["month"])
    routes = grouped(joined, ["origin", "dest"]).drop(columns=["cancelled", "mean_dep_delay"])
    routes.insert(2, "dest_name", routes["dest"].astype(str).map(places))
    weather = grouped(joined[joined["wet"].notna()], ["origin", "wet"])
    weather = weather.drop(columns=["cancelled", "mean_arr_delay"])
    weather["wet"] = weather["wet"].where(weather["wet"] >= 0)
    tables = {"carrier_delay": carriers, "month_delay": months, "route": routes, "weather_delay": weather}
    return {name: plain(table) for name, table in tables.items()}


def plain(table):
    """Rows for SQLite: null instead of NaN."""
    return table.astype(object).where(table.notna(), None).values.tolist()


def load(out, tables, flights_read):
    out.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(out, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        for name, rows in tables.items():
            connection.execute(f"DELETE FROM {name}")
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
        now = datetime.now(timezone.utc).isoformat()
        run = (f"pandas-{time.time_ns()}", flights_read, len(tables["rejected"]), now)
        connection.execute("INSERT INTO run VALUES (?, ?, ?, ?)", run)
        connection.execute("COMMIT")
    finally:
        connection.close()


def pipeline(data, out, rejected_max):
    tables, rejected, read = {}, [], {}
    for name in SCHEMAS:
        tables[name], read[name], bad = extract(data / name, rejected_max)
        rejected += bad
    limit("all files", rejected, rejected_max)
    joined = transform(tables["flights.csv"], tables["weather.csv"])
    result = report(joined, tables["airlines.csv"], tables["airports.csv"])
    result["rejected"] = sorted(rejected, key=lambda row: row[:2])
    load(out, result, read["flights.csv"])


class Peak(threading.Thread):
    """The largest PSS seen, sampled every few milliseconds; 0 where there is no /proc."""

    def __init__(self):
        super().__init__(daemon=True)
        self.bytes = 0
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.005):
            self.sample()

    def sample(self):
        try:
            text = Path("/proc/self/smaps_rollup").read_text()
        except OSError:
            return
        line = next(line for line in text.splitlines() if line.startswith("Pss:"))
        self.bytes = max(self.bytes, int(line.split()[1]) * 1024)


def rows_of(file, table):
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        columns = "source, line" if table == "rejected" else "*"
        # Nulls before values, so that rows of mixed types can be put in order.
        rows = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
    finally:
        connection.close()
    return sorted(rows, key=lambda row: [(cell is not None, cell) for cell in row[:3]])


def differences(file, own):
    """Sentences that say where the tables of two databases differ."""
    for table in TABLES:
        try:
            found, expected = rows_of(file, table), rows_of(own, table)
        except sqlite3.Error as error:
            yield f"{table}: {error}"
            continue
        if len(found) != len(expected):
            yield f"{table}: {len(found)} rows, expected {len(expected)}"
        for left, right in zip(found, expected):
            if not (len(left) == len(right) and all(map(same, left, right))):
                yield f"{table}: {left}, expected {right}"


def same(left, right):
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) <= 1e-9
    return left == right


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--out", type=Path, default=HERE / "out" / "pandas.sqlite")
    parser.add_argument("--rejected-max", type=int, default=100)
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare the tables of FILE")
    parser.add_argument("--pss", action="store_true", help="sample PSS, which costs some time")
    arguments = parser.parse_args()

    peak = Peak()
    if arguments.pss:
        peak.start()
    start = time.perf_counter()
    pipeline(arguments.data, arguments.out, arguments.rejected_max)
    seconds = time.perf_counter() - start
    peak.done.set()
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    result = {"seconds": round(seconds, 4), "rss_bytes_peak": rss}
    if arguments.pss:
        result["pss_bytes_peak"] = peak.bytes
    print(json.dumps(result))

    if arguments.check:
        found = list(differences(arguments.check, arguments.out))
        for difference in found[:20]:
            print(difference)
        print(f"{arguments.check}: {len(found)} differences" if found else f"{arguments.check}: same tables")
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
