"""Models beside onnxruntime, one thread each, in turns within the same minute on the same core; then two instances beside one.

    cargo build --release -p embermq-inference --example speed
    python3 benches/inference/speed.py target/release/examples/speed MODEL[,INPUT=1x3x224x224]...

Each argument is a model file with the shapes that the file leaves open. Without models: those of inference/models; MiniLM and
EfficientNet-Lite0 in f32 where EMBERMQ_MODELS names a folder that has them; ResNet-50 and ShuffleNet from the folder `light` that
EMBERMQ_ONNX_CASES names (`python3 checks/onnx_cases.py` prints it); and those that need no file and are made: an MLP, MobileNetV2, and
single convolutions and products as they occur in ResNet-50, MobileNetV2 and MiniLM. Needs numpy, onnx and onnxruntime.
Prints a line per model: the least time of both in milliseconds, the ratio, the medians (each engine's best turn) and their ratio, and how many
times as many runs two threads on two cores do as one (of the mean of one on either core, as they differ; the median of turns).
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# Many short turns: what other tenants of a machine take comes in spells of seconds, and falls on both.
SECONDS = float(os.environ.get("SECONDS_PER_TURN", "0.5"))
TURNS = int(os.environ.get("TURNS", "8"))


def sample(shape, kind):
    count = int(np.prod(shape))
    if kind == "tensor(float)":
        return (((np.arange(count) * 7919 + 13) % 1001) / 500 - 1).astype(np.float32).reshape(shape)
    return np.ones(shape, {"tensor(int64)": np.int64, "tensor(int32)": np.int32}[kind])


def theirs(path, shapes):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {}
    for port in session.get_inputs():
        open_sizes = [size if isinstance(size, int) else 1 for size in port.shape]
        feed[port.name] = sample(shapes.get(port.name, open_sizes), port.type)
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e3)
    return min(times), sorted(times)[len(times) // 2]


def ours(binary, path, shapes):
    arguments = [f"{name}={'x'.join(map(str, shape))}" for name, shape in shapes.items()]
    environment = {**os.environ, "SECONDS": str(SECONDS)}
    done = subprocess.run([binary, path, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{path}: {done.stderr}")
    least, median, _ = map(float, done.stdout.split())
    return least, median


def rate(binary, path, shapes, instances):
    arguments = [f"{name}={'x'.join(map(str, shape))}" for name, shape in shapes.items()]
    environment = {**os.environ, "SECONDS": str(SECONDS), "INSTANCES": str(instances)}
    done = subprocess.run([binary, path, *arguments], capture_output=True, text=True, env=environment, check=True)
    return float(done.stdout)


def scaling(binary, path, shapes, cores):
    """Runs of two instances on two cores for each of one."""
    ones = []
    for core in cores:
        os.sched_setaffinity(0, {core})
        ones.append(rate(binary, path, shapes, 1))
    os.sched_setaffinity(0, set(cores))
    return rate(binary, path, shapes, 2) / statistics.mean(ones)


def compare(binary, argument):
    path, *texts = argument.split(",")
    pairs = (text.split("=") for text in texts)
    shapes = {name: [int(size) for size in sizes.split("x")] for name, sizes in pairs}
    # The cores of a virtual machine may differ by a third, as each shares one with others.
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    turns = [(theirs(path, shapes), ours(binary, path, shapes)) for _ in range(TURNS)]
    os.sched_setaffinity(0, cores)
    (a, b), (c, d) = (min(turn[who][0] for turn in turns) for who in (0, 1)), (
        min(turn[who][1] for turn in turns) for who in (0, 1)
    )
    scaled = statistics.median(scaling(binary, path, shapes, sorted(cores)[:2]) for _ in range(TURNS // 2))
    os.sched_setaffinity(0, cores)
    name = os.path.join(*path.split(os.sep)[-2:])
    print(f"{name:44} {a:10.4f} {b:10.4f} {b / a:6.2f}   {c:10.4f} {d:10.4f} {d / c:6.2f} {scaled:8.2f}", flush=True)


def save(folder, name, nodes, shape, weights):
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, name, ports[:1], ports[1:], tensors)
    path = os.path.join(folder, f"{name}.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def mobilenet(folder):
    """MobileNetV2 (arXiv:1801.04381, table 2) as exported: normalisations folded, ReLU6 as Clip."""
    random = np.random.default_rng(0)
    nodes, weights = [], {"low": np.float32(0), "high": np.float32(6)}

    def conv(x, inputs, outputs, kernel, stride, group, clipped):
        name = f"c{len(nodes)}"
        depth = inputs // group * kernel * kernel
        weights[f"{name}.w"] = random.normal(0, (2 / depth) ** 0.5, (outputs, inputs // group, kernel, kernel))
        weights[f"{name}.b"] = random.normal(0, 0.1, outputs)
        nodes.append(helper.make_node("Conv", [x, f"{name}.w", f"{name}.b"], [name], kernel_shape=[kernel] * 2,
                                      strides=[stride] * 2, group=group, pads=[kernel // 2] * 4))
        if not clipped:
            return name
        nodes.append(helper.make_node("Clip", [name, "low", "high"], [f"{name}.r"]))
        return f"{name}.r"

    x, channels = conv("x", 3, 32, 3, 2, 1, True), 32
    for factor, outputs, repeats, first in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                            (6, 160, 3, 2), (6, 320, 1, 1)]:
        for at in range(repeats):
            stride, wide = first if at == 0 else 1, channels * factor
            y = conv(x, channels, wide, 1, 1, 1, True) if factor > 1 else x
            y = conv(conv(y, wide, wide, 3, stride, wide, True), wide, outputs, 1, 1, 1, False)
            if at > 0:
                nodes.append(helper.make_node("Add", [x, y], [f"{y}.a"]))
                y = f"{y}.a"
            x, channels = y, outputs
    x = conv(x, channels, 1280, 1, 1, 1, True)
    weights["fc.w"], weights["fc.b"] = random.normal(0, 0.03, (1000, 1280)), random.normal(0, 0.1, 1000)
    nodes += [helper.make_node("GlobalAveragePool", [x], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
              helper.make_node("Gemm", ["f", "fc.w", "fc.b"], ["y"], transB=1)]
    return save(folder, "mobilenet-v2", nodes, [1, 3, 224, 224], weights)


def made(folder):
    random = np.random.default_rng(0)
    yield mobilenet(folder)
    weights = {"a": random.normal(size=(64, 128)), "b": random.normal(size=128),
               "c": random.normal(size=(128, 10)), "d": random.normal(size=10)}
    nodes = [helper.make_node("Gemm", ["x", "a", "b"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("Gemm", ["r", "c", "d"], ["y"])]
    yield save(folder, "mlp-64-128-10", nodes, [1, 64], weights)
    for channels, filters, kernel, stride, size, group in [
        (64, 64, 1, 1, 56, 1), (64, 256, 1, 1, 56, 1), (64, 64, 3, 1, 56, 1), (256, 256, 3, 1, 14, 1),
        (512, 512, 3, 1, 7, 1), (3, 64, 7, 2, 224, 1), (256, 512, 1, 2, 56, 1), (32, 32, 3, 1, 112, 32),
        (96, 96, 3, 2, 112, 96), (144, 144, 5, 2, 56, 144), (480, 480, 5, 1, 14, 480),
    ]:
        weights = {"w": random.normal(size=(filters, channels // group, kernel, kernel)), "b": random.normal(size=filters)}
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[kernel] * 2,
                                strides=[stride] * 2, group=group, pads=[kernel // 2] * 4)
        name = f"conv-{channels}-{filters}-{kernel}x{kernel}-by-{stride}-of-{size}-in-{group}"
        yield save(folder, name, [node], [1, channels, size, size], weights)
    for rows, depth, columns in [(32, 384, 384), (128, 384, 1536), (128, 1536, 384), (49, 4608, 512), (512, 512, 512)]:
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        weights = {"w": random.normal(size=(depth, columns))}
        yield save(folder, f"product-{rows}-{depth}-{columns}", [node], [rows, depth], weights)


def shipped():
    models = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "inference", "models")
    texts = [f"input_ids=1x{n},attention_mask=1x{n},token_type_ids=1x{n}" for n in (32, 128)]
    yield os.path.join(models, "iris-mlp", "model.onnx") + ",features=1x4"
    yield os.path.join(models, "efficientnet-lite0", "model-int8.onnx") + ",input=1x3x224x224"
    yield os.path.join(models, "magika", "model.onnx") + ",bytes=1x2048"
    more, cases = os.environ.get("EMBERMQ_MODELS"), os.environ.get("EMBERMQ_ONNX_CASES")
    if more:
        yield os.path.join(more, "efficientnet-lite0", "model.onnx") + ",input=1x3x224x224"
        yield from (os.path.join(more, "minilm", "model.onnx") + "," + shape for shape in texts)
    if cases:
        yield from (os.path.join(cases, "light", f"light_{name}", "model.onnx") for name in ("resnet50", "shufflenet"))


def main():
    binary, *models = sys.argv[1:]
    print(f"{'':44} {'ort':>10} {'embermq':>10} {'ratio':>6}   {'ort med.':>10} {'embermq':>10} {'ratio':>6} {'two/one':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for argument in models or itertools.chain(shipped(), made(folder)):
            compare(binary, argument)


main()
