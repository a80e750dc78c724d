#!/usr/bin/env python3
"""tritonclient[http] against a running server: metadata, readiness, and inference on the iris model in both forms of tensors."""
import json
import tempfile
from pathlib import Path

import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from broker_under_test import Server

IRIS = Path("inference/models/iris-mlp")


def refused(status, ask):
    """The message of what has to be refused."""
    try:
        ask()
    except InferenceServerException as error:
        assert error.status() == str(status), error
        assert error.message(), error
        return error.message()
    raise AssertionError("it was not refused")


def infer(client, features, binary, **more):
    tensor = triton.InferInput("features", list(features.shape), "FP32")
    tensor.set_data_from_numpy(features, binary_data=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "label")]
    return client.infer("iris", [tensor], outputs=outputs, request_id="seven", **more)


def check(client, golden):
    rows = golden["rows"]
    features = numpy.array([row["features"] for row in rows], dtype=numpy.float32)
    probabilities = numpy.array([row["probabilities"] for row in rows], dtype=numpy.float32)
    labels = numpy.array([row["label"] for row in rows])
    tolerance = golden["tolerance"]["probability"]

    assert client.is_server_live() and client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.is_model_ready("iris") and client.is_model_ready("iris", "1")
    assert not client.is_model_ready("none")
    metadata = client.get_model_metadata("iris")
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}], metadata
    assert [output["name"] for output in metadata["outputs"]] == ["probabilities", "label"], metadata

    for version in ("", "1", "champion"):
        for binary in (True, False):
            result = infer(client, features, binary, model_version=version)
            found = result.as_numpy("probabilities")
            assert found.shape == probabilities.shape, found.shape
            assert numpy.abs(found - probabilities).max() < tolerance, found
            assert (result.as_numpy("label") == labels).all(), result.as_numpy("label")
            response = result.get_response()
            assert (response["id"], response["model_version"]) == ("seven", "1"), response
    # Without a word about outputs the client gets all of them, in binary form.
    tensor = triton.InferInput("features", [1, 4], "FP32")
    tensor.set_data_from_numpy(features[:1])
    assert client.infer("iris", [tensor]).as_numpy("label").tolist() == labels[:1].tolist()
    # Several at once, as the client sends them.
    asked = [client.async_infer("iris", [tensor]) for _ in range(32)]
    assert all(one.get_result().as_numpy("label")[0] == labels[0] for one in asked)

    message = refused(404, lambda: client.get_model_metadata("none"))
    assert "none" in message, message
    wrong = triton.InferInput("features", [1, 3], "FP32")
    wrong.set_data_from_numpy(features[:1, :3])
    message = refused(400, lambda: client.infer("iris", [wrong]))
    assert "[-1, 4]" in message, message
    print(f"tritonclient: {len(rows)} rows, in JSON and in bytes, as onnxruntime has them")


def main():
    golden = json.loads((IRIS / "golden.json").read_text())
    with tempfile.TemporaryDirectory() as data:
        server = Server(data)
        try:
            model = (IRIS / "model.onnx").read_bytes()
            status, _, answer = server.request("PUT", "/v1/models/iris/versions/1", model)
            assert status == 201, answer
            status, answer = server.json("PUT", "/v1/models/iris/aliases/champion", {"version": "1"})
            assert status == 200, answer
            client = triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=8)
            try:
                check(client, golden)
            finally:
                client.close()
            assert server.stop() == 0, "a stop in order ends with 0"
        finally:
            if server.process.poll() is None:
                server.kill()


main()
