#!/usr/bin/env python3
"""How long a start takes, and what an idle server costs.

  restart.py DATA GIB      fills GIB over 100 partitions, kills -9, starts again

Prints the milliseconds from exec to the first good /readyz and the server's own recovery line. Fails over the limits
that the project gives itself: 1 s after kill -9, 100 ms on an empty folder, 25 MiB idle. The first start of a program
also reads it from the disk, which tells of the disk: it is printed beside the one that counts.
"""
import os
import sys
import tempfile
import time
import zlib

from broker_under_test import Server

PARTITIONS = 100
RECORDS = 1_000
READY_MS, EMPTY_MS, IDLE_KIB = 1_000, 100, 25 << 10


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def batch():
    """The wire form of a RecordBatch of 1,000 records of 1 KiB."""
    value = os.urandom(1_000)
    record = b"\x12" + varint(len(value)) + value
    return (b"\x52" + varint(len(record)) + record) * RECORDS


def started(data, **settings):
    """A server, and the milliseconds until it was ready."""
    begin = time.monotonic()
    server = Server(data, **settings)
    while server.request("GET", "/readyz")[0] != 200:
        pass
    return server, (time.monotonic() - begin) * 1_000


def main():
    data, gib = sys.argv[1], float(sys.argv[2])
    failed = []

    def check(what, value, limit, unit):
        print(f"{what}: {value:.0f} {unit} (limit {limit})")
        if value > limit:
            failed.append(what)

    beside = os.path.dirname(os.path.abspath(data))
    with tempfile.TemporaryDirectory(dir=beside) as empty:
        server, ms = started(empty)
        print(f"ready on an empty folder, the first start of the program: {ms:.0f} ms")
        server.stop()
    with tempfile.TemporaryDirectory(dir=beside) as empty:
        server, ms = started(empty)
        check("ready on an empty folder", ms, EMPTY_MS, "ms")
        check("idle on an empty folder", server.rss_kib(), IDLE_KIB, "KiB")
        server.stop()

    server = Server(data)
    assert server.json("PUT", "/v1/topics/load", {"partitions": PARTITIONS})[0] == 201
    body = batch()
    begin, sent = time.monotonic(), 0
    while sent < gib * (1 << 30):
        partition = zlib.crc32(b"%d" % sent) % PARTITIONS
        status, _, answer = server.request(
            "POST", f"/v1/topics/load/records?partition={partition}", body,
            {"Content-Type": "application/x-protobuf"})
        if status == 429:
            continue
        assert status == 200, answer
        sent += len(body)
    seconds = time.monotonic() - begin
    print(f"{sent >> 20} MiB in {seconds:.1f} s, {sent / seconds / 1e6:.0f} MB/s over one connection at a time")
    server.kill()
    server, ms = started(data)
    check("ready after kill -9", ms, READY_MS, "ms")
    print(server.process.stdout.readline().strip())
    server.kill()
    server, ms = started(data)
    check("ready after a second kill -9", ms, READY_MS, "ms")
    server.stop()
    server, ms = started(data)
    check("ready after a stop in order", ms, READY_MS, "ms")
    check("idle with the data", server.rss_kib(), IDLE_KIB, "KiB")
    server.stop()
    raise SystemExit(f"over the limit: {', '.join(failed)}" if failed else 0)


main()
