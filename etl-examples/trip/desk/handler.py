"""A booking desk, for what the variable `sells` names; it keeps its bookings in memory.

POST /book {"name": "ann"} gives {"number": "hotel-1", "name": "ann"}, or 400 where nothing is free;
the same idempotency key gives the same booking. POST /cancel {"input": …, "output": …} gives a
booking back: the one in `output`, or where that is not known, all of the same request. POST /free 2
says how many there are from now on. GET /bookings tells everything that was booked and cancelled.
"""

import os
import threading
import time

SELLS = os.environ["sells"]
LOCK = threading.Lock()
STATE = {"free": int(os.environ.get("free", "1000000"))}
BOOKINGS = {}  # by number
JOURNAL = []


def handle(value, call):
    with LOCK:
        if call.path == "/book":
            key = call.headers.get("x-turlough-idempotency-key", "")
            return book(value, key, call.headers.get("x-turlough-request-id", ""))
        if call.path == "/cancel":
            return cancel(value, call.headers.get("x-turlough-request-id", ""))
        if call.path == "/free":
            STATE["free"] = int(value)
            return STATE
        if call.path == "/bookings":
            return JOURNAL
    raise ValueError("POST /book, /cancel or /free, or GET /bookings")


def book(traveller, key, request):
    for booking in BOOKINGS.values():
        if key and booking["key"] == key:
            return shown(booking)
    if STATE["free"] < 1:
        raise ValueError(f"no {SELLS} is free")
    STATE["free"] -= 1
    number = f"{SELLS}-{len(BOOKINGS) + 1}"
    name = traveller["name"]
    BOOKINGS[number] = {"number": number, "name": name, "key": key, "request": request, "live": True}
    write("book", number)
    return shown(BOOKINGS[number])


def cancel(undone, request):
    output = undone.get("output")
    if output:
        numbers = [output["number"]]
    else:
        numbers = [n for n, booking in BOOKINGS.items() if request and booking["request"] == request]
    for number in numbers:
        if BOOKINGS[number]["live"]:
            BOOKINGS[number]["live"] = False
            STATE["free"] += 1
            write("cancel", number)
    return {"cancelled": numbers}


def shown(booking):
    return {"number": booking["number"], "name": booking["name"]}


def write(what, number):
    JOURNAL.append({"at": time.time(), "what": what, "number": number})
    print(what, number, flush=True)
