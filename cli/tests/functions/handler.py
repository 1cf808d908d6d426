"""A function for the tests of `turlough`: the path says what it does.

With the label of a flow-function it claims to serve a flow, so that the tests can have several
functions with flows in one gateway.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/_/health":
            self.answer(200, "text/plain", b"ok")
        elif self.path == "/flows":
            flow = {"name": "echo", "version": os.environ.get("TURLOUGH_LISTEN", ""), "nodes": 1}
            self.answer(200, "application/json", json.dumps({"flows": [flow]}).encode())
        else:
            self.answer(404, "text/plain", b"unknown")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if self.path == "/echo":
            print("echo was called", file=sys.stderr, flush=True)
            self.answer(200, self.headers.get("Content-Type", ""), body)
        elif self.path == "/bytes":
            self.answer(200, "image/png", bytes(range(256)) * 100)
        elif self.path == "/hang":
            threading.Event().wait()
        else:
            self.answer(500, "text/plain", b"no such luck")

    def answer(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["port"])), Handler).serve_forever()
