"""Writes a report on what the variable `about` names, which takes two seconds."""

import os
import time

ABOUT = os.environ["about"]


def handle(order):
    time.sleep(2)
    return {"about": ABOUT, "year": order["year"], "pages": len(ABOUT)}
