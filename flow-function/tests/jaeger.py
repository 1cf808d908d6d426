"""Calls fizz-buzz, and asks Jaeger what it was told of it. JAEGER is where it answers, the gateway where
TURLOUGH_GATEWAY_URL says."""

import json
import os
import time
import urllib.request

GATEWAY = os.environ["TURLOUGH_GATEWAY_URL"]
JAEGER = os.environ["JAEGER"]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
CALLS = 30


def call(n, headers):
    headers = {"content-type": "application/json", **headers}
    body = json.dumps({"n": n}).encode()
    request = urllib.request.Request(f"{GATEWAY}/function/flows/fizz-buzz", body, headers)
    with urllib.request.urlopen(request) as answer:
        return answer.headers["x-turlough-request-id"], json.load(answer)["answer"]


def traces(path, is_whole):
    """What Jaeger answers, once it is whole; it takes a moment to keep what it is sent."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{JAEGER}/api/{path}") as answer:
                found = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            found = []
        if is_whole(found):
            return found
        time.sleep(0.1)
    raise SystemExit(f"jaeger.py: {path} is not whole after 30 s: {json.dumps(found)[:2000]}")


def tags(span):
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def parent(span):
    parents = [it["spanID"] for it in span["references"] if it["refType"] == "CHILD_OF"]
    return parents[0] if parents else None


def has_root(found):
    return found and any(span["operationName"] == "flow fizz-buzz" for span in found[0]["spans"])


def check_tree(trace, request, root_parent):
    spans = trace["spans"]
    by_id = {span["spanID"]: span for span in spans}
    assert len(by_id) == len(spans), "two spans of one id"
    [root] = [span for span in spans if span["operationName"] == "flow fizz-buzz"]
    assert parent(root) == root_parent, root
    for span in spans:
        process = trace["processes"][span["processID"]]
        assert process["serviceName"] == "flows", process
        if span is not root:
            assert parent(span) in by_id, span
    about = tags(root)
    assert about["turlough.request_id"] == request and about["turlough.outcome"] == "succeeded", about
    [attempt] = [span for span in spans if span["operationName"] == "apply classify"]
    assert tags(attempt)["span.kind"] == "client" and tags(attempt)["faas.invoked_name"] == "classify"
    step = by_id[parent(attempt)]
    assert step["operationName"] == "classify" and parent(step) == root["spanID"]
    assert root["duration"] >= step["duration"] >= attempt["duration"] > 0
    return len(spans)


def main():
    calls = [call(n, {}) for n in range(1, CALLS + 1)]
    expected = {0: "FizzBuzz", 3: "Fizz", 5: "Buzz", 6: "Fizz", 9: "Fizz", 10: "Buzz", 12: "Fizz"}
    for n, (_, answer) in enumerate(calls, 1):
        assert answer == expected.get(n % 15, n), (n, answer)
    count = 0
    for request, _ in calls:
        [trace] = traces(f"traces/{request.replace('-', '')}", has_root)
        count += check_tree(trace, request, None)
    request, _ = call(15, {"traceparent": f"00-{TRACE}-{CALLER}-01"})
    [trace] = traces(f"traces/{TRACE}", has_root)
    check_tree(trace, request, CALLER)
    listed = traces("traces?service=flows&limit=100", lambda found: len(found) == CALLS + 1)
    print(f"jaeger.py: Jaeger holds {len(listed)} traces of {CALLS + 1} requests, each whole; {count} spans looked at")


main()
