"""Writes letters; keeps them in memory. POST a text; GET /letters tells all that were written."""

LETTERS = []


def handle(text, call):
    if call.path == "/letters":
        return LETTERS
    LETTERS.append(text)
    print(text, flush=True)
    return "sent"
