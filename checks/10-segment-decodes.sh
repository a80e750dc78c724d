#!/usr/bin/env bash
# A sealed segment is an ordinary protobuf message: Python's protobuf reads it from the committed .proto.
# Needs python3 with the packages grpcio-tools and protobuf (PYTHON names another interpreter).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
"$python" -m grpc_tools.protoc -I protocol/proto --python_out="$generated" protocol/proto/embermq/v1/*.proto
PYTHONPATH=checks "$python" checks/segment_decodes.py "$generated"
