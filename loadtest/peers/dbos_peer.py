"""The peer on DBOS: a workflow of N no-op steps, in a row or side by side, durable in Postgres.

    port=9090 DBOS_URL=postgresql://… python dbos_peer.py

A step of DBOS is a function in the workflow's own process; no call is made. The answers are those of
`turlough-loadtest --url`.
"""

import asyncio
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dbos import DBOS

DBOS(config={"name": "turlough-peer", "system_database_url": os.environ["DBOS_URL"], "log_level": "WARNING",
             "run_admin_server": False})


@DBOS.step()
def step(n):
    return n + 1


@DBOS.workflow()
def chain(steps, start):
    n = start
    for _ in range(steps):
        n = step(n)
    return n


@DBOS.step()
async def step_async(n):
    return n + 1


@DBOS.workflow()
async def fanout(items):
    return list(await asyncio.gather(*(step_async(n) for n in items)))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/chain":
            answer = chain(call["steps"], call["start"])
        else:
            answer = asyncio.run(fanout(call["items"]))
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


DBOS.launch()
ThreadingHTTPServer(("127.0.0.1", int(os.environ["port"])), Handler).serve_forever()
