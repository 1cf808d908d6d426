"""A press: takes orders, and prints when somebody presses the button.

POST /print takes an order, and gives {"order": 1} at once; GET /orders tells for each order where its
answer is to be posted.
"""

ORDERS = []


def handle(order, call):
    if call.path == "/orders":
        return ORDERS
    ORDERS.append({"copies": order["copies"], "callback": call.headers["x-callback-url"]})
    return {"order": len(ORDERS)}
