#!/usr/bin/env bash
# A full disk, on a tmpfs and on a small ext4 image: see disk_full.py. Needs root for mount.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then echo "needs root for mount" >&2; exit 1; fi
work=$(mktemp -d)
mkdir "$work/tmpfs" "$work/ext4"
trap 'umount "$work/tmpfs" "$work/ext4" 2>/dev/null || true; rm -rf "$work"' EXIT
mount -t tmpfs -o size=40m tmpfs "$work/tmpfs"
truncate -s 64M "$work/image"
mkfs.ext4 -q -F "$work/image"
mount -o loop "$work/image" "$work/ext4"
for kind in tmpfs ext4; do
  echo "on $kind:"
  PYTHONPATH=checks "${PYTHON:-python3}" checks/disk_full.py "$work/$kind/data" "${ROUNDS:-3}"
done
