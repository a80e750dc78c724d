#!/usr/bin/env bash
# ONNX's own tests of every operator, its small models, and its full topologies, as its Python package carries them. What
# passed once has to pass: inference/tests/node-expectations.txt may only improve. --update writes that file anew, and docs/operators.md.
# Needs a release build, python3 with pip (PYTHON names another interpreter), and a package index once: what it downloads is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
binary=${EMBERMQ:-${CARGO_TARGET_DIR:-target}/release/embermq}
cases=$("$python" checks/onnx_cases.py) || exit $?
folders=("$cases"/node "$cases"/simple "$cases"/pytorch-operator "$cases"/pytorch-converted "$cases"/light)
expectations=inference/tests/node-expectations.txt
if [ "${1:-}" = --update ]; then
  found=$(mktemp)
  trap 'rm -f "$found"' EXIT
  "$binary" model test "${folders[@]}" --json --write-expect "$expectations" >"$found" || true
  "$python" checks/operators_table.py <"$found" >docs/operators.md
  tail -n 1 "$found"
else
  "$binary" model test "${folders[@]}" --brief --expect "$expectations"
fi
