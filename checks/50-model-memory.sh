#!/usr/bin/env bash
# What a loaded model takes of the program's memory: at most 1.3 times its weights and what a run keeps alive, as `embermq model check` says
# them, above what the idle server took; pages of the program itself do not count. The shipped EfficientNet-Lite0, and those in the folder EMBERMQ_MODELS where it is set.
# Needs a release build (EMBERMQ names another) and python3 (PYTHON names another interpreter); Linux, for /proc.
set -euo pipefail
cd "$(dirname "$0")/.."
"${PYTHON:-python3}" checks/model_memory.py
