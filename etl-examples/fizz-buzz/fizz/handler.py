"""fizz: the answer for numbers that divide by 3 alone."""


def handle(_number):
    return "Fizz"
