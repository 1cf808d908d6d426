"""Jobs that somebody else works on, kept in memory.

POST /start {"polls": 3} gives {"id": 1, "state": "running"}. POST /status with that gives the same,
and from the third time on {"id": 1, "state": "done"}. POST /stop gives {"id": 1, "state": "stopped"}.
"""

import threading

LOCK = threading.Lock()
JOBS = []


def handle(job, call):
    with LOCK:
        if call.path == "/start":
            JOBS.append({"polls": int(job["polls"]), "state": "running"})
            return shown(len(JOBS))
        found = JOBS[int(job["id"]) - 1]
        if call.path == "/status":
            found["polls"] -= 1
            if found["polls"] <= 0 and found["state"] == "running":
                found["state"] = "done"
        elif call.path == "/stop":
            found["state"] = "stopped"
        else:
            raise ValueError("POST to /start, /status or /stop")
        return shown(int(job["id"]))


def shown(number):
    return {"id": number, "state": JOBS[number - 1]["state"]}
