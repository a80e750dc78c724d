"""A table of operators from what `embermq model test --json` prints: which opsets the tests use, and how many pass."""

import json
import sys
from collections import defaultdict

HEAD = """\
# Operators

Written by `checks/30-node-tests.sh --update`. Each line counts the models of ONNX's own test suite (version 1.19.1: {total} models) that
contain the operator, alone or among others, and how many of them give the expected outputs. `embermq model check FILE` says which
operators a model needs, and which of them are not supported.

{passed} of {total} models pass; {unsupported} are refused since they ask for what is not supported; {failed} fail.

Wrong by these tests are the four `test_qlinearmatmul_*_int8_*`: results beyond -128 to 127 wrap around in their data (-236 is stored as 20), while the specification of
QLinearMatMul says that they saturate (-128), as they do here; and `test_l2normalization_axis_0`, whose data have NaN where the norm is zero, while the specification of
LpNormalization says zero. Random numbers are compared by type and shape. Pixels of ImageDecoder may
differ by up to 4 of 255, since decoders of JPEG round and scale colour up differently.

| operator | opsets in the tests | passed |
|---|---|---|
"""


def main():
    opsets, passed, total = defaultdict(set), defaultdict(int), defaultdict(int)
    verdicts = defaultdict(int)
    for line in sys.stdin:
        case = json.loads(line)
        if "verdict" not in case:
            continue
        verdicts[case["verdict"]] += 1
        for operator in case.get("operators", []):
            domain = operator.rpartition(".")[0]
            version = case["opsets"].get(domain)
            if version is not None:
                opsets[operator].add(version)
            total[operator] += 1
            passed[operator] += case["verdict"] == "ok"
    count = sum(verdicts.values())
    failed = verdicts["wrong"] + verdicts["error"]
    text = HEAD.format(
        total=count, passed=verdicts["ok"], unsupported=verdicts["unsupported"], failed=failed
    )
    for operator in sorted(total, key=lambda name: (name.count("."), name.lower())):
        versions = ", ".join(map(str, sorted(opsets[operator])))
        text += f"| {operator} | {versions} | {passed[operator]} of {total[operator]} |\n"
    sys.stdout.write(text)


main()
