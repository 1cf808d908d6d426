"""What the raw figures of steps.py say, as Markdown. Figures are medians over the rounds."""

import json
import statistics

BEGIN, END = "<!-- steps.py writes from here -->", "<!-- to here -->"


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def quantile(values, share):
    """The value that a share does not exceed, by nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)]


def steps_us(runs):
    """What one more costs in each turn of all rounds: neighbours in time."""
    found = []
    for run in runs:
        sizes = {int(size): times for size, times in run["raw_ns"]["sizes"].items()}
        small, large = sorted(sizes)[-2:]
        found += [(b - a) / (large - small) / 1e3 for a, b in zip(sizes[small], sizes[large])]
    return found


def each(runs):
    return median(run["each_us"]["median"] for run in runs)


def time(us):
    if us is None:
        return "–"
    if abs(us) >= 10_000_000:
        return f"{us / 1e6:.1f} s"
    if abs(us) >= 1000:
        return f"{us / 1000:.2f} ms"
    return f"{us:.0f} µs"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def chains(found):
    rows = []
    for name, runs in found["chain"].items():
        side = name.split("/")[0]
        turns = steps_us(runs)
        fixed, entry = median(run["fixed_us"] for run in runs), median(
            run.get("entry_us", {}).get("p50") for run in runs)
        append = median(run.get("append_us_mean") for run in runs)
        beside = "–" if entry is None or append is None else f"{time(entry)} + 2 × {time(append)}"
        rows.append([name, time(each(runs)), time(quantile(turns, 0.99)),
                     f"{median(run['ratio'] for run in runs):.2f}", time(fixed), beside,
                     found["durability"][side]])
    head = ["chain", "a step, p50", "p99", "× one call", "fixed cost", "an entry call and two appends",
            "durability"]
    return table(head, rows)


def fanouts(found):
    rows = []
    for name, runs in found["fanout"].items():
        by_size = [f"{time(median(run['sizes'][i]['us']['p50'] for run in runs) / size)}"
                   for i, size in enumerate([10, 100, 1000])]
        rows.append([name, time(each(runs)), *by_size])
    head = ["fan-out", "one more branch", "per branch of 10", "of 100", "of 1,000"]
    return table(head, rows)


def throughput(found):
    rows = []
    for name, runs in found["throughput"].items():
        latency = [median(run["latency_ms"][q] for run in runs) for q in ("p50", "p99")]
        rows.append([name, f"{median(run['requests_per_second'] for run in runs):.0f}",
                     f"{median(run['steps_per_second'] for run in runs):.0f}", *(f"{ms:.0f} ms" for ms in latency)])
    return table(["64 chains of 10 at once", "chains/s", "steps/s", "p50", "p99"], rows)


def growth(found):
    rows = []
    for what in dict.fromkeys(name.rpartition("/")[0] for name in found["growth"]):
        small, large = (each(found["growth"][f"{what}/{sizes}"]) for sizes in ("100,1000", "1000,10000"))
        rows.append([what, time(small), time(large), f"{large / small:.2f}"])
    return table(["growth", "one more, 100 to 1,000", "1,000 to 10,000", "ratio"], rows)


def beside_open(found):
    rows = []
    for name, run in found["open"].items():
        pss = run["pss_bytes"]["flows"] / 1e6
        for row in run["rows"]:
            last = row is run["rows"][-1]
            restart = "–"
            if last and "restart_seconds" in run:
                restart = f'{time(run["restart_seconds"] * 1e6)}, all listed after {time(run["listed_seconds"] * 1e6)}'
            rows.append([name, f"{row['open']:,}", time(row["chain"]["each_us"]["median"]),
                         f"{row['chain']['ratio']:.2f}", f"{row['to_first']:.2f}",
                         f"{row['started_per_second']:.0f}", f"{pss:.0f} MB" if last else "–", restart])
    head = ["state", "open", "a step", "× one call", "× the first", "started per s", "PSS of the flow-function",
            "start beside them"]
    return table(head, rows)


def idle(found):
    names = sorted({name for shares in found["idle_percent"].values() for name in shares})
    rows = [[state, *(f"{shares[name]:.2f} %" if name in shares else "–" for name in names)]
            for state, shares in found["idle_percent"].items()]
    return table(["idle, of a core", *names], rows)


def aims(found):
    """What is aimed at, and what was found."""
    cost = {name: each(runs) for name, runs in found.get("chain", {}).items()}
    ratio = {name: median(run["ratio"] for run in runs) for name, runs in found.get("chain", {}).items()}
    branch = {name: each(runs) for name, runs in found.get("fanout", {}).items()}
    rate = {name: median(run["requests_per_second"] for run in runs)
            for name, runs in found.get("throughput", {}).items()}

    def over(values, one, other):
        return values[one] / values[other] if one in values and other in values else None

    checks = [
        ("a step in memory, of one call", ratio.get("memory/apply"), 1.15, True),
        ("a pure step on JetStream, of one call", ratio.get("nats/pure"), 1.3, True),
        ("a step on JetStream, of one call", ratio.get("nats/apply"), 1.8, True),
        ("a step on JetStream, of Restate's", over(cost, "nats/apply", "restate/call"), 1 / 8, True),
        ("the same with an fsync per append", over(cost, "nats-always/apply", "restate/call"), 1 / 2, True),
        ("a branch on JetStream, of Restate's", over(branch, "nats", "restate"), 1 / 3, True),
        ("a step on JetStream, of DBOS's", over(cost, "nats/apply", "dbos/step"), 1 / 3, True),
        ("chains per second on JetStream, of Restate's", over(rate, "nats", "restate"), 8, False),
    ]
    rows = [[what, f"{'at most' if most else 'at least'} {limit:.3g}", f"{value:.3g}",
             "yes" if (value <= limit) == most else "**no**"]
            for what, value, limit, most in checks if value is not None]
    return table(["aimed at", "", "found", ""], rows)


def markdown(found):
    """A table per part that was measured."""
    machine = found["machine"]
    text = [f"On {machine['cpus']} cores, Linux {machine['kernel']}; medians of {found['rounds']} rounds.\n"]
    parts = {"chain": chains, "fanout": fanouts, "throughput": throughput, "growth": growth, "open": beside_open}
    text += [make(found) for part, make in parts.items() if part in found]
    if found["idle_percent"]:
        text.append(idle(found))
    if any(part in found for part in ("chain", "fanout", "throughput")):
        text.append(aims(found))
    return "\n".join(text)


def replace(readme, text):
    """Puts it between the marks."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def compact(value):
    """JSON whose lists of numbers stand in a line."""
    def write(value, indent):
        inner = " " * (indent + 1)
        if isinstance(value, dict) and value:
            items = (f"{inner}{json.dumps(key)}: {write(item, indent + 1)}" for key, item in value.items())
            return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
        if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
            return "[\n" + ",\n".join(inner + write(item, indent + 1) for item in value) + "\n" + " " * indent + "]"
        return json.dumps(value)
    return write(value, 0) + "\n"
