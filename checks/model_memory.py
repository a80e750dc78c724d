#!/usr/bin/env python3
"""Models that are loaded into a running server and asked directly, and what its resident memory is then."""
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from broker_under_test import Server, binary

SHIPPED = Path("inference/models/efficientnet-lite0/model-int8.onnx")
# What was freed is given back a while later, by whoever allocates then.
PATIENCE_S = 12
BETWEEN_S = 1.2
WIDTHS = {"FP32": 4, "INT64": 8}


def models():
    """Files, and the sizes of the axes that they leave open."""
    yield SHIPPED, {"N": 1}
    folder = os.environ.get("EMBERMQ_MODELS")
    if folder:
        yield Path(folder, "efficientnet-lite0/model.onnx"), {"N": 1}
        yield Path(folder, "minilm/model.onnx"), {"batch": 1, "sequence": 128}


def planned_bytes(model, sizes):
    """Weights, and what a run keeps alive."""
    dims = [part for name, size in sizes.items() for part in ("--dim", f"{name}={size}")]
    command = [binary(), "model", "check", str(model), *dims, "--output", "json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found["constant_bytes"] + found["run_bytes"]


def request_for(server, name, sizes):
    """Body and headers of an inference: zeros for all inputs, in binary form."""
    status, about = server.json("GET", f"/v2/models/{name}")
    assert status == 200, about
    inputs, tensors = [], b""
    open_axes = list(sizes.values())
    for port in about["inputs"]:
        shape = [open_axes[axis] if size < 0 else size for axis, size in enumerate(port["shape"])]
        elements = 1
        for size in shape:
            elements *= size
        tensor = bytes(elements * WIDTHS[port["datatype"]])
        tensors += tensor
        entry = {"name": port["name"], "datatype": port["datatype"], "shape": shape}
        inputs.append(dict(entry, parameters={"binary_data_size": len(tensor)}))
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return head + tensors, {"Inference-Header-Content-Length": str(len(head))}


def check(model, sizes):
    planned = planned_bytes(model, sizes)
    with tempfile.TemporaryDirectory() as data:
        server = Server(data)
        try:
            status, answer = server.json("PUT", "/v1/topics/others", {})
            assert status in (200, 201), answer
            idle = resident_bytes(server)
            status, _, answer = server.request("PUT", "/v1/models/it/versions/1", model.read_bytes())
            assert status == 201, answer
            status, _, answer = server.request("GET", "/v2/models/it/ready")
            assert status == 200, answer
            taken = settled_bytes(server, idle + planned * 13 // 10) - idle
            body, headers = request_for(server, "it", sizes)
            for _ in range(20):
                status, _, answer = server.request("POST", "/v2/models/it/infer", body, headers)
                assert status == 200, answer
            running = settled_bytes(server, 0) - idle
            of_planned = f"for {planned:,} planned, {taken / planned:.2f} times"
            print(f"{model.parent.name}/{model.name}: {taken:,} bytes {of_planned}; {running:,} after 20 runs")
            assert taken <= planned * 13 // 10, "it takes more than 1.3 times what it should"
            assert server.stop() == 0, "a stop in order ends with 0"
        finally:
            if server.process.poll() is None:
                server.kill()


def resident_bytes(server):
    """Of the heap, of stacks and of model files; pages of the program's code are not a model's."""
    counts, kib = False, 0
    with open(f"/proc/{server.process.pid}/smaps") as maps:
        for line in maps:
            words = line.split()
            if not words[0].endswith(":"):
                # A mapping begins: addresses, rights, place, device, inode, and a name if it has one.
                counts = len(words) < 6 or words[5].startswith("[") or words[5].endswith(".onnx")
            elif counts and words[0] == "Rss:":
                kib += int(words[1])
    return kib * 1024


def settled_bytes(server, enough):
    """Resident memory once it is no more than `enough`; else the least that it was within a while. The server has a little to do meanwhile."""
    until = time.monotonic() + PATIENCE_S
    least = None
    while least is None or (least > enough and time.monotonic() < until):
        time.sleep(BETWEEN_S)
        status, _, answer = server.request("POST", "/v1/topics/others/records", bytes(1 << 20))
        assert status == 200, answer
        now = resident_bytes(server)
        least = now if least is None else min(least, now)
    return least


for path, axes in models():
    check(path, axes)
