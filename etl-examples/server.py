"""Serves one function over HTTP/1.1: `handler.py` of the folder that it is started in.

`handle(value)` gets the JSON value of a POST's body, and what it returns is the answer, as JSON.
Where it raises ValueError the caller is at fault and gets 400, any other exception is 500. With a
second parameter, `handle(value, call)`, it gets the call too: `call.path` and `call.headers`, a
dict with names in lower case; then it answers GET as well, with None as the value.
`GET /_/health` answers 200. The address comes from the variables `host` and `port`. SIGTERM ends
the process once the requests that are running have been answered. Standard library only; the
requests are parsed here, since http.server takes longer over them than the functions do.
"""

import inspect
import json
import os
import signal
import socketserver
import sys
import threading
import traceback
from collections import namedtuple

sys.path.insert(0, os.getcwd())
from handler import handle  # noqa: E402

Call = namedtuple("Call", "path headers")
TAKES_CALL = len(inspect.signature(handle).parameters) > 1

# Far more than any value of these examples takes.
BODY_BYTES_MAX = 64 * 1024
LINE_BYTES_MAX = 8 * 1024
HEADERS_MAX = 100
# Between two requests of a connection that is kept alive.
IDLE_SECONDS = 120
# Shorter than what process supervisors wait before they kill.
GRACE_SECONDS = 4

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large", 500: "Error"}


class Refused(Exception):
    """Ends a connection, since what follows in it cannot be told apart from a body."""

    def __init__(self, status, detail):
        super().__init__(detail)
        self.status = status


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS

    def handle(self):
        try:
            while self.one_request():
                pass
        except Refused as refused:
            self.respond(refused.status, {"detail": str(refused)}, keep=False)
        except OSError:
            pass  # The peer has gone, or was silent for too long.

    def one_request(self):
        """Answers one request; false when the connection is at its end."""
        request = self.rfile.readline(LINE_BYTES_MAX)
        if not request:
            return False
        with self.server.running:
            headers = self.headers()
            keep = headers.get(b"connection", b"").lower() != b"close"
            keep = keep and not self.server.stopping.is_set()
            try:
                method, target, _version = request.split()
            except ValueError:
                raise Refused(400, "request line is not HTTP") from None
            body = self.body(headers)
            self.respond(*answer(method, target.decode("latin-1"), headers, body), keep=keep)
            return keep

    def headers(self):
        headers = {}
        for _ in range(HEADERS_MAX):
            line = self.rfile.readline(LINE_BYTES_MAX)
            if line in (b"\r\n", b"\n", b""):
                return headers
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        raise Refused(400, f"more than {HEADERS_MAX} headers")

    def body(self, headers):
        if b"chunked" in headers.get(b"transfer-encoding", b"").lower():
            return self.chunks()
        try:
            return self.exactly(int(headers.get(b"content-length", b"0")))
        except ValueError:
            raise Refused(400, "content-length is not a number") from None

    def chunks(self):
        body = b""
        while True:
            try:
                size = int(self.rfile.readline(LINE_BYTES_MAX).split(b";")[0], 16)
            except ValueError:
                raise Refused(400, "chunk without a size") from None
            if size == 0:
                self.headers()  # What follows the last chunk has the form of headers.
                return body
            body += self.exactly(size, len(body))
            self.rfile.readline(LINE_BYTES_MAX)

    def exactly(self, size, before=0):
        if not 0 <= size <= BODY_BYTES_MAX - before:
            raise Refused(413, f"body is {before + size} bytes or more, limit {BODY_BYTES_MAX}")
        data = self.rfile.read(size)
        if len(data) != size:
            raise Refused(400, f"body ended after {len(data)} of {size} bytes")
        return data

    def respond(self, status, value, keep):
        body = json.dumps(value, separators=(",", ":")).encode()
        head = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        # One write, so that the answer is not held back for an acknowledgement of its head.
        self.request.sendall(head.encode() + body)


def answer(method, target, headers, body):
    """Status and value for a request."""
    path = target.split("?")[0]
    if method == b"GET" and path in ("/_/health", "/_/ready"):
        return 200, "ok"
    if method == b"GET" and not TAKES_CALL:
        return 404, {"detail": "POST a JSON value to /"}
    try:
        value = None if method == b"GET" else json.loads(body)
        if not TAKES_CALL:
            return 200, handle(value)
        names = {name.decode("latin-1"): text.decode("latin-1") for name, text in headers.items()}
        return 200, handle(value, Call(path, names))
    except ValueError as error:  # json.JSONDecodeError is one
        return 400, {"detail": str(error)}
    except Exception:
        traceback.print_exc()
        return 500, {"detail": "the function failed; its log says why"}


class Running:
    """Counts the requests that run, for a stop that lets them end."""

    def __init__(self):
        self.count = 0
        self.changed = threading.Condition()

    def __enter__(self):
        with self.changed:
            self.count += 1

    def __exit__(self, *_):
        with self.changed:
            self.count -= 1
            self.changed.notify_all()

    def wait(self):
        with self.changed:
            self.changed.wait_for(lambda: self.count == 0, GRACE_SECONDS)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address):
        self.running = Running()
        self.stopping = threading.Event()
        super().__init__(address, Connection)

    def stop(self, *_):
        self.stopping.set()
        # shutdown() waits for serve_forever(), which this thread runs.
        threading.Thread(target=self.shutdown).start()


def main():
    host, port = os.environ.get("host", "127.0.0.1"), os.environ.get("port", "8080")
    try:
        server = Server((host, int(port)))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"cannot listen on {host}:{port}: {error}; set `port` to a free one")
    signal.signal(signal.SIGTERM, server.stop)
    signal.signal(signal.SIGINT, server.stop)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    server.running.wait()


if __name__ == "__main__":
    main()
