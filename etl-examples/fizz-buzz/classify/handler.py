"""classify: says whether a whole number divides by 3 and by 5.

{"n": 15} gives {"n": 15, "by3": true, "by5": true}.
"""


def handle(number):
    n = number.get("n") if isinstance(number, dict) else None
    if not isinstance(n, int) or isinstance(n, bool):
        raise ValueError('write {"n": 15}, with a whole number')
    return {"n": n, "by3": n % 3 == 0, "by5": n % 5 == 0}
