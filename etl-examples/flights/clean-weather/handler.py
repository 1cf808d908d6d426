"""clean-weather: says of every weather row whether it was wet. Standard library only.

POST with a JSON object of columns `origin`, `hour` and `precip` (equal lengths, `precip` in
inches or null) answers the columns `origin`, `hour`, `precip` and `wet`; `wet` is null where
`precip` is. Other members of the object are ignored. `GET /_/health` answers 200. The address
comes from the environment variables `host` and `port`. SIGTERM ends the process once the requests
that are running have been answered.
"""

import json
import math
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The year's weather is 0.6 MB of JSON; ten times that leaves room and keeps memory bounded.
BODY_BYTES_MAX = 8 * 1024 * 1024
# A chunk size is a line of a few hexadecimal digits.
CHUNK_LINE_BYTES_MAX = 256
# Longer than any answer takes, shorter than what process supervisors wait before they kill.
GRACE_SECONDS = 8
# Between two requests of a connection that is kept alive.
IDLE_SECONDS = 120


class Refused(Exception):
    """A request that is answered with an error: the HTTP status and a sentence."""

    def __init__(self, status, detail):
        super().__init__(detail)
        self.status = status
        self.detail = detail


def clean(table):
    """The cleaned columns of a weather table."""
    if not isinstance(table, dict):
        raise Refused(400, "body is not a JSON object of columns")
    columns = {}
    for name in ("origin", "hour", "precip"):
        column = table.get(name)
        if not isinstance(column, list):
            raise Refused(400, f"body has no column {name}")
        columns[name] = column
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise Refused(400, f"columns have different lengths: {lengths}")
    try:
        columns["wet"] = [None if inches is None else inches > 0 for inches in columns["precip"]]
        sane = all(inches is None or math.isfinite(inches) for inches in columns["precip"])
    except TypeError:
        sane = False
    if not sane:
        raise Refused(400, "column precip holds something else than numbers and nulls")
    return columns


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "clean-weather"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    # Head and body leave in one write; the default sends each header block on its own.
    wbufsize = -1

    def do_GET(self):
        with self.server.request():
            if self.path.split("?")[0] in ("/_/health", "/_/ready"):
                self.answer(200, "text/plain", b"ok\n")
            else:
                self.refuse(Refused(404, f"GET {self.path} is unknown; POST the columns"))

    def do_POST(self):
        with self.server.request():
            try:
                body = self.body()
                try:
                    table = json.loads(body)
                except ValueError as error:
                    raise Refused(400, f"body is not JSON: {error}") from error
                answer = json.dumps(clean(table), separators=(",", ":")).encode()
            except Refused as refused:
                self.refuse(refused)
            else:
                self.answer(200, "application/json", answer)

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.chunks()
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self.close_connection = True
            raise Refused(411, "request has no usable Content-Length") from None
        self.check_length(length)
        body = self.rfile.read(length)
        if len(body) != length:
            self.close_connection = True
            raise Refused(400, f"body ended after {len(body)} of {length} bytes")
        return body

    def chunks(self):
        body = bytearray()
        while True:
            line = self.rfile.readline(CHUNK_LINE_BYTES_MAX)
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                self.close_connection = True
                raise Refused(400, "body has a chunk without a size") from None
            if size == 0:
                break
            self.check_length(len(body) + size)
            body += self.rfile.read(size)
            self.rfile.readline(CHUNK_LINE_BYTES_MAX)
        while self.rfile.readline(CHUNK_LINE_BYTES_MAX).strip():
            pass  # trailers
        return bytes(body)

    def check_length(self, length):
        if not 0 <= length <= BODY_BYTES_MAX:
            # What is not read stays in the connection, so no other request may follow.
            self.close_connection = True
            raise Refused(413, f"body is {length} bytes, limit {BODY_BYTES_MAX}")

    def refuse(self, refused):
        problem = {"title": "request refused", "status": refused.status, "detail": refused.detail}
        self.answer(refused.status, "application/problem+json", json.dumps(problem).encode())

    def answer(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection or self.server.stopping.is_set():
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format, *args):
        """Requests are logged by the gateway; only failures are written here."""

    def log_error(self, format, *args):
        sys.stderr.write(f"clean-weather: {format % args}\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    address_family = socket.AF_INET
    request_queue_size = 128

    def __init__(self, host, port):
        self.stopping = threading.Event()
        self.running = 0
        self.changed = threading.Condition()
        super().__init__((host, port), Handler)

    def request(self):
        return Running(self)

    def stop(self, *_):
        self.stopping.set()
        # shutdown() waits for serve_forever(), which this thread may be running.
        threading.Thread(target=self.shutdown).start()

    def wait(self):
        with self.changed:
            self.changed.wait_for(lambda: self.running == 0, GRACE_SECONDS)


class Running:
    """Counts a request while it runs, for a stop that lets it end."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        with self.server.changed:
            self.server.running += 1

    def __exit__(self, *_):
        with self.server.changed:
            self.server.running -= 1
            self.server.changed.notify_all()


def main():
    host = os.environ.get("host", "127.0.0.1")
    port = os.environ.get("port", "8080")
    try:
        server = Server(host, int(port))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"clean-weather: listen on {host}:{port}: {error}; set `port` to a free port")
    signal.signal(signal.SIGTERM, server.stop)
    signal.signal(signal.SIGINT, server.stop)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    server.wait()


if __name__ == "__main__":
    main()
