#!/usr/bin/env bash
# The Open Inference Protocol with a client that is not ours: PyPI's tritonclient[http] asks the server for a shipped model, in JSON and in
# binary tensors, and the answers are those of onnxruntime. Needs a release build (EMBERMQ names another), python3 with venv (PYTHON names
# another interpreter), and a package index once: what is installed is kept. Exit code 77: the package cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
version=2.73.0
tools="${XDG_CACHE_HOME:-$HOME/.cache}/embermq-ci/tritonclient-$version"
if ! "$tools/bin/python" -c 'import tritonclient.http' 2>/dev/null; then
  rm -rf "$tools"
  if ! { "${PYTHON:-python3}" -m venv "$tools" && "$tools/bin/pip" install --quiet "tritonclient[http]==$version"; } >&2; then
    rm -rf "$tools"
    echo "SKIPPED: tritonclient[http] $version cannot be installed" >&2
    exit 77
  fi
fi
PYTHONPATH=checks "$tools/bin/python" checks/open_inference.py
