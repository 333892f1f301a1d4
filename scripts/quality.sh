#!/bin/bash
# How well anomalies are found, on labelled series of the Numenta Anomaly Benchmark: its standard profile, at the threshold of
# the product, with one configuration for all files.
#
# NAB: the folder with data/, labels/ and score.py; without it ../shared/nab. SENSORHIVE: a program that was built before.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

nab=${NAB:-../shared/nab}
for part in data labels/combined_windows.json score.py; do
    if [ ! -e "$nab/$part" ]; then
        echo "There is no $part in $nab (that is $(realpath -m "$nab")). Give the folder that has it: make quality NAB=/path/to/nab" >&2
        exit 1
    fi
done
nab=$(realpath "$nab")
command -v python3 >/dev/null || { echo "score.py needs python3" >&2; exit 1; }

program=${SENSORHIVE:-}
if [ -z "$program" ]; then
    cargo build --locked --release
    program=${CARGO_TARGET_DIR:-target}/release/sensorhive
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "scoring the series in $nab"
for folder in "$nab"/data/*/; do
    category=$(basename "$folder")
    "$program" detect "$folder"*.csv --out "$work/plain/$category" >/dev/null
    mkdir -p "$work/sensorhive/$category"
    for result in "$work/plain/$category"/*.csv; do
        mv "$result" "$work/sensorhive/$category/sensorhive_$(basename "$result")"
    done
done

# The threshold is that of the product, for each of the three profiles.
python3 "$nab/score.py" --nab "$nab" --results "$work/sensorhive" --thresholds 0.5,0.5,0.5 --per-file >"$work/scores"
awk '
    BEGIN { printf "%-24s %8s %10s %16s\n", "category", "score", "found", "false positives" }
    $1 == "==" {
        split($0, raw, "raw="); split($0, hit, "hit="); split(hit[2], found, /[\/ ]/); split($0, false_, "fp=")
        score = found[2] > 0 ? sprintf("%.1f", 50 * (raw[2] / found[2] + 1)) : "-"
        printf "%-24s %8s %6d/%-3d %16d\n", $2, score, found[1], found[2], false_[2]
    }
    END { print }' "$work/scores"
