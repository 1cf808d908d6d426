"""A function for the gateway's tests; the variable `behaviour` says what it does."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BEHAVIOUR = os.environ.get("behaviour", "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Only what a behaviour says is written."""

    def do_GET(self):
        if self.path == "/die":
            os._exit(7)
        health = os.environ.get("health_path", "/_/health")
        sick = BEHAVIOUR == "sick" and self.path == health
        known = not self.path.startswith("/_/") or self.path == health
        self.answer(503 if sick else 200 if known else 404)

    def do_POST(self):
        """Says what it heard; `/slow` takes its time over it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/leak":
            LEAK.append(b"x" * int(body))
        if self.path == "/burn":
            burn(float(body))
        if self.path == "/child":
            subprocess.run([sys.executable, "-c", BURN, body], check=True)
        if self.path == "/hold":
            len(b"x" * int(body))
        if self.path == "/slow":
            print("slow call", flush=True)
            time.sleep(float(os.environ.get("slow_s", "1")))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        print("heard", len(body), "bytes", flush=True)

    do_PUT = do_POST

    def answer(self, status):
        about = {
            "pid": os.getpid(),
            "cwd": os.getcwd(),
            "environment": dict(os.environ),
            "secrets": sorted(os.listdir(SECRETS)) if os.path.isdir(SECRETS) else None,
            "child": CHILD.pid if CHILD else None,
        }
        body = json.dumps(about).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def burn(seconds):
    """Takes so much of a processor."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def flood():
    """Writes for as long as it lives."""
    while True:
        print("flood " * 1000, flush=True)


def wait_for_permission():
    """Starts at once the first time, later only when the file `go` is there."""
    if pathlib.Path(os.environ["folder"], "started").exists():
        while not pathlib.Path(os.environ["folder"], "go").exists():
            time.sleep(0.01)
    pathlib.Path(os.environ["folder"], "started").touch()


LEAK = []
BURN = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass"
SECRETS = "/var/openfaas/secrets"
CHILD = None
if BEHAVIOUR == "crash":
    print("reading the settings")
    print("no database here", file=sys.stderr)
    sys.exit(3)
if BEHAVIOUR == "restart":
    wait_for_permission()
if BEHAVIOUR in ("stubborn", "family"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if BEHAVIOUR in ("family", "orphan"):
    ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    CHILD = subprocess.Popen([sys.executable, "-c", ignoring], stdout=subprocess.PIPE)
    CHILD.stdout.readline()
if BEHAVIOUR == "escape":
    # Neither in its group nor its child.
    leave = "import os, time; os.setsid(); print(os.fork() or '', flush=True); time.sleep(600)"
    escaped = subprocess.Popen([sys.executable, "-c", leave], stdout=subprocess.PIPE)
    CHILD = escaped
    os.environ["escaped"] = escaped.stdout.readline().decode().strip()
if BEHAVIOUR == "flood":
    threading.Thread(target=flood, daemon=True).start()
if BEHAVIOUR == "talkative":
    print("x" * 100_000, flush=True)
    for number in range(3000):
        print("line", number, flush=True)

ThreadingHTTPServer(("127.0.0.1", int(os.environ["port"])), Handler).serve_forever()
