"""Prices a line of an order."""

PRICES = {"tea": 3, "milk": 2}


def handle(line):
    if line["item"] not in PRICES:
        raise ValueError(f"nobody knows the price of {line['item']}")
    return {**line, "cost": line["count"] * PRICES[line["item"]]}
