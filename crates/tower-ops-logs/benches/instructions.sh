#!/usr/bin/env bash
# Instructions and allocations of a line, as a markdown table. Needs valgrind.
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
bench=$(cargo bench -q -p tower-ops-logs --bench instructions --no-run --message-format=json \
  | sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')
# Prints the instructions of a case ($1) for so many lines ($2).
count() {
  valgrind --tool=callgrind --callgrind-out-file="$out/$1" --collect-atstart=no \
    --toggle-collect='*instructions::measured*' "$bench" "$1" "$2" >/dev/null 2>"$out/log" \
    || { cat "$out/log" >&2; exit 1; }
  sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$out/$1" | tail -1
}

echo '| what is logged | instructions | allocations |'
echo '|---|--:|--:|'
for case in 0 1 2 3 4 5; do
  IFS='|' read -r name allocations < <("$bench" "$case" 10000)
  few=$(count "$case" 2000)
  many=$(count "$case" 6000)
  echo "| $name | $(((many - few) / 4000)) | $allocations |"
done
