"""Runs flows beside a real Prometheus, and asks it for every panel of the dashboards: each must have data.

Needs `turlough dev` around it: TURLOUGH_GATEWAY_URL says where the gateway is, METRICS where its metrics are,
TURLOUGH_STORE_METRICS_PORT where those of the store are."""

import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

GATEWAY = os.environ["TURLOUGH_GATEWAY_URL"]
STORE_PORT = os.environ["TURLOUGH_STORE_METRICS_PORT"]
FOLDER = pathlib.Path(__file__).parent
# Rates need some scrapes within them.
RATE = "10s"
CONFIG = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [{rules}]
scrape_configs:
  - job_name: gateway
    static_configs: [{{ targets: ["{metrics}"] }}]
  - job_name: flow-function
    metrics_path: /function/flows/metrics
    static_configs: [{{ targets: ["{gateway}"] }}]
  - job_name: store
    static_configs: [{{ targets: ["127.0.0.1:{store}"] }}]
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(path, body, headers=None):
    request = urllib.request.Request(GATEWAY + path, body, headers or {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def load():
    """Requests that succeed, and one that fails; values of every size; asynchronous calls."""
    for n in range(1, 16):
        assert call("/function/flows/fizz-buzz", json.dumps({"n": n}).encode()) == 200
    assert call("/function/flows/fizz-buzz", b'"none"') in (500, 422)
    call("/async-function/classify", b'{"n": 3}')


def ask(prometheus, path, **query):
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]


def filled(expr):
    """An expression as Grafana sends it, where all is selected."""
    expr = expr.replace("$__rate_interval", RATE)
    return re.sub(r"\$(tenant|flow|instance)\b", ".*", expr)


def panels():
    for path in sorted((FOLDER / "grafana").glob("*.json")):
        dashboard = json.loads(path.read_text())
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids) > 3, path
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield path.stem, panel["title"], filled(target["expr"])


def main():
    port, folder = free_port(), tempfile.TemporaryDirectory()
    config = pathlib.Path(folder.name) / "prometheus.yaml"
    metrics, gateway = os.environ["METRICS"], GATEWAY.removeprefix("http://")
    rules = (FOLDER / "prometheus" / "rules.yaml").resolve()
    config.write_text(CONFIG.format(rules=rules, metrics=metrics, gateway=gateway, store=STORE_PORT))
    listens = f"--web.listen-address=127.0.0.1:{port}"
    data = f"--storage.tsdb.path={folder.name}/data"
    log = open(f"{folder.name}/log", "w")
    server = subprocess.Popen(["prometheus", f"--config.file={config}", listens, data], stderr=log)
    prometheus = f"http://127.0.0.1:{port}"
    try:
        missing, asked = None, list(panels())
        end = time.monotonic() + 90
        while missing != [] and time.monotonic() < end:
            load()
            time.sleep(1)
            if server.poll() is not None:
                raise SystemExit("dashboards.py: Prometheus ended:\n" + pathlib.Path(log.name).read_text()[-2000:])
            try:
                missing = [it for it in asked if not ask(prometheus, "query", query=it[2])["result"]]
            except urllib.error.URLError:
                missing = None
        if missing != []:
            lines = "\n".join(" / ".join(it) for it in missing or asked)
            raise SystemExit(f"dashboards.py: these panels have no data after 90 s:\n{lines}")
        unhealthy = [
            rule["name"]
            for group in ask(prometheus, "rules")["groups"]
            for rule in group["rules"]
            if rule["health"] != "ok"
        ]
        assert not unhealthy, unhealthy
        print(f"dashboards.py: all {len(asked)} expressions of the dashboards have data")
    finally:
        server.terminate()
        server.wait()


main()
