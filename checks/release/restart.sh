#!/usr/bin/env bash
# Start-up, restart after kill -9, and idle memory: see restart.py. GIB sets the size: 10 is what the project promises
# for. It looks at the clock, so it is run by hand on a quiet machine and not with every change.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d -p "${WORK:-${CARGO_TARGET_DIR:-target}}")
trap 'rm -rf "$work"' EXIT
PYTHONPATH=checks "${PYTHON:-python3}" checks/release/restart.py "$work/data" "${GIB:-10}"
