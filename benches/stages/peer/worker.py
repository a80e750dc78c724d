"""The worker that people write today: a consumer group of a Redis stream, onnxruntime, and a stream of answers.

    worker.py PORT INPUT OUTPUT KIND MODEL LABELS BATCH THREADS

It takes up to BATCH entries, answers them in one run of the model, and adds the answers and acknowledges the entries in one
MULTI/EXEC. EMBERMQ_BENCH_WORKER_BATCH in the environment takes the place of BATCH: 1 and 10 are what most workers are written with. KIND is `bytes` (784 of them) or `image`. Prints `ready` once it has run the model and waits. Needs what requirements.txt says.
"""

import io
import os
import sys

import numpy as np
import onnxruntime
import orjson
import redis
from PIL import Image

GROUP = "workers"


def rows_of_bytes(values):
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)


def rows_of_images(values):
    rows = np.empty((len(values), 3, 224, 224), np.float32)
    for row, value in zip(rows, values):
        photo = Image.open(io.BytesIO(value)).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        row[:] = ((np.asarray(photo, np.float32) - 127) / 128).transpose(2, 0, 1)
    return rows


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def answers_of(scores, labels, top):
    """As the stage words them: the best class, and the best few."""
    best = np.argsort(-scores, axis=1)[:, :top]
    values = np.take_along_axis(scores, best, axis=1)
    for row, found in zip(best.tolist(), values.tolist()):
        classes = [{"class": at, "label": labels[at], "score": score} for at, score in zip(row, found)]
        yield orjson.dumps({**classes[0], "classes": classes})


def main():
    port, source, target, kind, model, labels, batch, threads = sys.argv[1:]
    batch = os.environ.get("EMBERMQ_BENCH_WORKER_BATCH", batch)
    labels = open(labels, encoding="utf-8").read().splitlines()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows_of = {"bytes": rows_of_bytes, "image": rows_of_images}[kind]
    top, activation = {"bytes": (1, lambda scores: scores), "image": (5, softmax)}[kind]
    warm = {"bytes": np.zeros((1, 784), np.uint8), "image": np.zeros((1, 3, 224, 224), np.float32)}[kind]
    session.run(None, {name: warm})
    client, me = redis.Redis(port=int(port)), str(os.getpid())
    print("ready", flush=True)
    while True:
        taken = client.xreadgroup(GROUP, me, {source: ">"}, count=int(batch), block=1000)
        if not taken:
            continue
        ids, fields = zip(*taken[0][1])
        scores = activation(session.run(None, {name: rows_of([field[b"v"] for field in fields])})[0])
        pipe = client.pipeline(transaction=True)
        for answer in answers_of(scores, labels, top):
            pipe.xadd(target, {"v": answer})
        pipe.xack(source, GROUP, *ids)
        pipe.execute()


main()
