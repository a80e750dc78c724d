"""ONNX's test data, out of one wheel of its Python package: prints the folder that it lies in.

Downloaded once with pip, checked by its digest, kept in the cache. Exit code 77: it is not there and cannot be downloaded.
Any wheel of that version has the same data; one is named so that the digest can be.

The full topologies come as a model and an output each, to be run on a ramp from 0 to 1. They are laid out here as the other tests are.
"""

import array
import hashlib
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

VERSION = "1.19.1"
WHEEL = f"onnx-{VERSION}-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
SHA256 = "1839af08ab4a909e4af936b8149c27f8c64b96138981024e251906e0539d8bf9"
DATA = "onnx/backend/test/data/"
KINDS = ("node/", "simple/", "pytorch-operator/", "pytorch-converted/", "light/")


def say(text):
    print(text, file=sys.stderr)


def is_right(wheel):
    return wheel.is_file() and hashlib.sha256(wheel.read_bytes()).hexdigest() == SHA256


def download(folder):
    wheel = folder / WHEEL
    if is_right(wheel):
        return wheel
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"]
    command += ["--platform", "manylinux2014_x86_64", "--dest", str(folder), f"onnx=={VERSION}"]
    result = subprocess.run(command, stdout=sys.stderr, check=False)
    if result.returncode != 0:
        say(f"SKIPPED: {WHEEL} is not in {folder} and cannot be downloaded")
        sys.exit(77)
    if not is_right(wheel):
        say(f"{wheel} is not what it should be: its SHA-256 is not {SHA256}")
        sys.exit(1)
    return wheel


def fields(message):
    """The fields of a protobuf message: number, and an integer or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}[kind] if kind != 2 else varint()
        yield key >> 3, message[at : at + size]
        at += size


def all_of(message, number):
    return [value for found, value in fields(message) if found == number]


def input_shapes(model):
    """Sizes of the inputs that no initializer gives; 1 where a size is open."""
    (graph,) = all_of(model, 7)
    weights = {all_of(tensor, 8)[0] for tensor in all_of(graph, 5)}
    for info in all_of(graph, 11):
        if all_of(info, 1)[0] not in weights:
            (kind,) = all_of(info, 2)
            (tensor,) = all_of(kind, 1)
            (shape,) = all_of(tensor, 2)
            yield [(all_of(dim, 1) or [1])[0] for dim in all_of(shape, 1)]


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def ramp(shape):
    """A tensor of f32 from 0 to nearly 1, as a TensorProto."""
    count = math.prod(shape)
    elements = array.array("f", (at / count for at in range(count)))
    if sys.byteorder == "big":
        elements.byteswap()
    raw = elements.tobytes()
    dims = b"".join(b"\x08" + varint(size) for size in shape)
    return dims + b"\x10\x01" + b"\x4a" + varint(len(raw)) + raw


def lay_out_topologies(light):
    for model in sorted(light.glob("light_*.onnx")):
        folder = light / model.stem
        data = folder / "test_data_set_0"
        data.mkdir(parents=True)
        for at, shape in enumerate(input_shapes(model.read_bytes())):
            (data / f"input_{at}.pb").write_bytes(ramp(shape))
        (light / f"{model.stem}_output_0.pb").rename(data / "output_0.pb")
        model.rename(folder / "model.onnx")


def unpack(wheel, target):
    scratch = target.with_suffix(f".{os.getpid()}")
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = entry.filename.removeprefix(DATA)
            if name != entry.filename and name.startswith(KINDS) and not entry.is_dir():
                path = scratch / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(entry))
    lay_out_topologies(scratch / "light")
    try:
        scratch.rename(target)
    except OSError:
        # Another run was faster.
        shutil.rmtree(scratch)


def main():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embermq-ci"
    folder = cache / f"onnx-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    cases = folder / "cases"
    if not cases.is_dir():
        unpack(download(folder), cases)
    print(cases)


main()
