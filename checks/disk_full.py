#!/usr/bin/env python3
"""A full disk: producing is refused in a way that can be retried, reading goes on, deleting frees space, nothing is
lost and nobody restarts.

  disk_full.py DATA [ROUNDS]      DATA lies on a small file system of its own
"""
import json
import sys
import time

from broker_under_test import Server

VALUE = b"v" * 60_000


def fill(server, topic):
    """Produces until it is refused; the values' numbers that were acknowledged, and the refusal."""
    acked = 0
    while True:
        status, headers, body = server.request(
            "POST", f"/v1/topics/{topic}/records", b"%08d" % acked + VALUE, {"Content-Type": "text/plain"})
        if status != 200:
            return acked, status, headers, json.loads(body)
        assert json.loads(body)["offset"] == acked, body
        acked += 1


def read_all(server, topic):
    """The numbers of all values, in order."""
    numbers, at = [], 0
    while True:
        status, answer = server.json("GET", f"/v1/topics/{topic}/records?offset={at}&max=100")
        assert status == 200, answer
        numbers += [int(record["value"][:8]) for record in answer["records"]]
        at = answer["next_offset"]
        if at == answer["end_offset"]:
            return numbers


def main():
    data, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    server = Server(data, storage__log_file_bytes="4MiB", storage__segment_bytes="4MiB",
                    storage__snapshot_log_bytes="4MiB")
    assert server.json("PUT", "/v1/topics/kept", {})[0] == 201
    for number in range(20):
        status, _, body = server.request("POST", "/v1/topics/kept/records", b"%08d kept" % number)
        assert status == 200, body
    for round_ in range(rounds):
        assert server.json("PUT", "/v1/topics/bulk", {})[0] == 201
        acked, status, headers, problem = fill(server, "bulk")
        assert status == 507, (status, problem)
        assert problem["code"] == "storage_full" and problem["retryable"] is True, problem
        assert headers["Content-Type"] == "application/problem+json"
        assert read_all(server, "bulk") == list(range(acked)), "everything acknowledged is readable"
        assert read_all(server, "kept") == list(range(20))
        print(f"round {round_}: full after {acked} records: {problem['detail']}")
        status, _, body = server.request("DELETE", "/v1/topics/bulk")
        assert status in (200, 204), body
        deadline = time.monotonic() + 30
        while True:  # the space comes back as the files are removed
            assert server.json("GET", "/v1/topics/kept")[0] == 200
            status, answer = server.json("PUT", "/v1/topics/probe", {})
            sent, _, _ = server.request("POST", "/v1/topics/kept/records", b"%08d again" % 99)
            if status in (200, 201) and sent == 200:
                break
            assert time.monotonic() < deadline, answer
        server.request("DELETE", "/v1/topics/probe")
        # What was added while waiting goes again, so that each round starts alike.
        server.request("DELETE", "/v1/topics/kept")
        assert server.json("PUT", "/v1/topics/kept", {})[0] == 201
        for number in range(20):
            sent, _, body = server.request("POST", "/v1/topics/kept/records", b"%08d kept" % number)
            assert sent == 200, body
    assert server.process.poll() is None, "it never stopped"
    assert server.stop() == 0
    print(f"{rounds} rounds on one server: refused, read, freed, resumed")


main()
