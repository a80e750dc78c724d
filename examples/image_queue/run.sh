#!/bin/sh
# Photos in, labels out: everything that README.md explains, one step after the other, against a broker that runs.
#
#   ./run.sh [FOLDER WITH PHOTOS]
#
# EMBERMQ_URL names another broker than http://127.0.0.1:7400.
set -eu

url=${EMBERMQ_URL:-http://127.0.0.1:7400}
here=$(cd "$(dirname "$0")" && pwd)
models=$here/../../inference/models
photos=${1:-$models/samples}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The best of the classes; the list of the others stands beside it.
label_of() { sed -e 's/\\"/"/g' -e 's/"classes":\[[^]]*\]//' -e 's/.*"label":"\([^"]*\)".*/\1/'; }
say() { printf '\n== %s\n' "$*"; }
ask() { curl --silent --show-error --fail-with-body "$@"; }

say "Two topics, one for photos, one for labels"
for topic in photos photos.labels; do
  ask -X PUT "$url/v1/topics/$topic" -d '{}' > "$work/answer"
  echo "$topic"
done

say "The model: a folder with an ONNX file and a model.toml, as a tar archive"
tar cf "$work/model.tar" -C "$models/efficientnet-lite0" model.toml model-int8.onnx labels.txt known-input.png known-answer.json
ask -T "$work/model.tar" "$url/v1/models/photo-classifier/versions/1"; echo
ask -X PUT "$url/v1/models/photo-classifier/aliases/champion" -d '{"version":"1"}'; echo

say "A stage: what is produced to photos is answered in photos.labels"
ask -X PUT "$url/v1/stages/classify" \
  -d '{"input":"photos","model":"photo-classifier@champion","output":"photos.labels","max_attempts":3}' > "$work/answer"
echo "classify"

# What was there before this run is no part of it.
end_of() { ask "$url/v1/topics/$1/records?from=end&max=1" | sed 's/.*"end_offset":\([0-9]*\).*/\1/'; }
from=$(end_of photos.labels)

say "Photos, and something that is none"
count=0
for photo in "$photos"/*.jpg "$photos"/*.jpeg "$photos"/*.png; do
  [ -f "$photo" ] || continue
  ask "$url/v1/topics/photos/records" -H "Key: $(basename "$photo")" -H 'Content-Type: image/*' --data-binary @"$photo"; echo
  count=$((count + 1))
done
printf 'this is no photo' > "$work/broken.jpg"
ask "$url/v1/topics/photos/records" -H 'Key: broken.jpg' -H 'Content-Type: image/jpeg' --data-binary @"$work/broken.jpg"; echo

say "Labels, as they come"
while [ "$count" -gt 0 ]; do
  ask "$url/v1/topics/photos.labels/records?offset=$from&max=1&wait=30s" > "$work/answer"
  if grep -q '"records":\[\]' "$work/answer"; then
    echo "no label came within 30 seconds; see $url/v1/stages/classify" >&2
    exit 1
  fi
  photo=$(sed 's/.*"key":"\([^"]*\)".*/\1/' "$work/answer")
  label=$(ask "$url/v1/topics/photos.labels/keys/$photo" | label_of)
  printf '%-24s %s\n' "$photo" "$label"
  from=$((from + 1))
  count=$((count - 1))
done

say "What is no photo is a dead letter at once, whole and with the reason"
until ask "$url/v1/topics/photos/groups/classify/dead" > "$work/answer" && grep -q 'broken.jpg' "$work/answer"; do sleep 1; done
cat "$work/answer"; echo

say "Offered once more, it dies once more"
ask -X POST "$url/v1/topics/photos/groups/classify:redrive" -d '{}'; echo

say "Asked and waited for: the same topic as a function, and its answer by its id"
ask "$url/v1/topics/photos/records:call" -H 'Prefer: wait=30' -H 'Content-Type: image/png' --data-binary @"$models/samples/coffee.png" | label_of; echo
ask -D "$work/head" -o "$work/answer" "$url/v1/topics/photos/records:call" -H 'Prefer: respond-async' \
  -H 'Content-Type: image/png' --data-binary @"$models/samples/coffee.png"
request=$(tr -d '\r' < "$work/head" | grep -i '^location:' | cut -d ' ' -f 2)
until ask "$url$request" -H 'Prefer: wait=30' > "$work/answer" && grep -q '"state":"succeeded"' "$work/answer"; do sleep 1; done
printf '%s is %s\n' "$request" "$(label_of < "$work/answer")"

say "Files of any kind, and a model that says which"
for topic in files files.types; do ask -X PUT "$url/v1/topics/$topic" -d '{}' > "$work/answer"; done
tar cf "$work/types.tar" -C "$models/magika" model.toml model.onnx labels.txt content-types.json known-input.sh known-answer.json
ask -T "$work/types.tar" "$url/v1/models/content-type/versions/1"; echo
ask -X PUT "$url/v1/stages/content-type" -d '{"input":"files","model":"content-type@1","output":"files.types"}' > "$work/answer"
for file in orders.py page.pdf tone.wav; do
  printf '%-24s ' "$file"
  ask "$url/v1/topics/files/records:call" -H "Key: $file" -H 'Prefer: wait=30' --data-binary @"$models/magika/samples/$file" | label_of; echo
done

say "How the stage is doing"
ask "$url/v1/stages/classify"; echo
