"""Answers with what it is sent; on the path /picky it refuses 999, 1999, 2999 and so on."""


def handle(value, call):
    if call.path == "/picky" and value % 1000 == 999:
        raise ValueError(f"not {value}")
    return value
