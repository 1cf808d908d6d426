"""Stands for a flow-function: says which replica it is, and keeps the flows that are put to it."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FLOWS = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, value):
        body = json.dumps({"replica": str(os.getpid()), **value}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"flows": [{"name": name, "version": "1", "nodes": 1} for name in FLOWS]})

    def do_PUT(self):
        name = self.path.split("/")[-1]
        FLOWS[name] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"version": "1", "put": "created"})


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["port"])), Handler)
# Whoever takes its place does not answer at once. The port is its own by then: a free one may be somebody else's.
time.sleep(float(os.environ.get("late", "0")))
server.serve_forever()
