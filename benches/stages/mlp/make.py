"""Writes the MLP that the benchmark asks: `python3 make.py` (numpy and onnx), in this folder.

784-32-32-32-10 with ReLU and softmax, 27,562 parameters: the network that the Crayfish benchmark gives to stream processors. It takes a
picture of 28 by 28 bytes. Its weights are drawn, not learned: it says nothing about pictures, and takes as long as one that does.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTHS = [784, 32, 32, 32, 10]


def main():
    random = np.random.default_rng(28)
    tensors = [numpy_helper.from_array(np.float32(1 / 255), "scale")]
    nodes = [helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
             helper.make_node("Mul", ["floats", "scale"], ["x0"])]
    for at, (wide, next_wide) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        weights = random.normal(size=(wide, next_wide), scale=(2 / wide) ** 0.5).astype(np.float32)
        tensors += [numpy_helper.from_array(weights, f"w{at}"),
                    numpy_helper.from_array(np.zeros(next_wide, np.float32), f"b{at}")]
        nodes.append(helper.make_node("Gemm", [f"x{at}", f"w{at}", f"b{at}"], [f"y{at}"]))
        last = at == len(WIDTHS) - 2
        nodes.append(helper.make_node("Softmax", [f"y{at}"], ["scores"], axis=1) if last
                     else helper.make_node("Relu", [f"y{at}"], [f"x{at + 1}"]))
    ports = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", WIDTHS[0]]),
             helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", WIDTHS[-1]])]
    graph = helper.make_graph(nodes, "mlp", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "model.onnx")


main()
