#!/usr/bin/env python3
"""A sealed segment decodes with Python's protobuf from the committed .proto, and holds what was produced.

  segment_decodes.py GENERATED     the folder with the Python code that protoc made of protocol/proto
"""
import glob
import os
import sys
import tempfile

sys.path.insert(0, sys.argv[1])
from broker_under_test import Server
from embermq.v1 import record_pb2

RECORDS = 300
VALUE = b"x" * 10_000


def main():
    with tempfile.TemporaryDirectory() as data:
        server = Server(data, storage__segment_bytes="1MiB")
        assert server.json("PUT", "/v1/topics/photos", {})[0] == 201
        for number in range(RECORDS):
            headers = {"Key": f"cam-{number % 7}", "Content-Type": "text/plain"}
            status, _, body = server.request(
                "POST", "/v1/topics/photos/records", b"%d " % number + VALUE, headers)
            assert status == 200, body
        assert server.stop() == 0, "a stop in order ends with 0"
        segments = sorted(glob.glob(os.path.join(data, "topics", "*", "0", "*.seg")))
        assert len(segments) >= 3, segments
        seen = 0
        for path in segments[:-1]:  # the last one still grows
            with open(path, "rb") as file:
                segment = record_pb2.Segment.FromString(file.read())
            assert (segment.header.topic, segment.header.partition) == ("photos", 0)
            assert segment.header.base_offset == seen
            for batch in segment.batches:
                assert batch.base_offset == seen
                assert batch.record_count == len(batch.records)
                for record in batch.records:
                    assert record.value == b"%d " % seen + VALUE
                    assert record.key == b"cam-%d" % (seen % 7)
                    assert [(h.name, h.value) for h in record.headers] == [("content-type", b"text/plain")]
                    seen += 1
        print(f"{len(segments) - 1} sealed segments, {seen} records, decoded by Python's protobuf")


main()
