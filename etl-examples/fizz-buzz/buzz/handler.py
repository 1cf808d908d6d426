"""buzz: the answer for numbers that divide by 5 alone."""


def handle(_number):
    return "Buzz"
