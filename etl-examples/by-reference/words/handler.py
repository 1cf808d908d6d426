"""words: counts the words of a text that lies in the store, and puts the counts there, most first.

POST with the headers of a call by reference; the answer is empty, and its X-Turlough-Data-Ref says where
the counts lie. `GET /_/health` answers 200. The address comes from `host` and `port`.
"""

import collections
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from redis import RedisError
from store import Loan


def count(text):
    most = collections.Counter(text.split()).most_common()
    return [{"word": word, "count": times} for word, times in most]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            loan = Loan(self.headers)
            _, body = loan.read()
            counts = json.dumps(count(text_of(body))).encode()
            self.answer(200, loan.write("application/json", counts))
        except RedisError as error:
            # The step's retries, if it has any, are for this.
            print(f"the store: {error}", file=sys.stderr, flush=True)
            self.answer(503)
        except (KeyError, ValueError) as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            self.answer(400)

    def answer(self, status, reference=None):
        self.send_response(status)
        if reference:
            self.send_header("X-Turlough-Data-Ref", reference)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def text_of(body):
    """A text in MessagePack, as flows compute it, or in JSON."""
    if body[:1] == b'"':
        return json.loads(body)
    if not body:
        return ""
    head = {0xD9: 2, 0xDA: 3, 0xDB: 5}.get(body[0], 1)
    return body[head:].decode()


def main():
    address = os.environ.get("host", "127.0.0.1"), int(os.environ.get("port", "8080"))
    server = ThreadingHTTPServer(address, Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


main()
