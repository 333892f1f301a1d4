#!/bin/sh
# Breaks supervision, batches and the core in small ways, one at a time, and reports what no test noticed. Takes hours.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh

need_to_build
command -v cargo-mutants >/dev/null || { say "installing cargo-mutants"; cargo install --locked cargo-mutants; }
exec cargo mutants --features faults \
    --file 'src/actors/supervision/**' --file 'src/core/**' \
    --file src/actors/batch.rs --file src/actors/part.rs --file src/actors/permits.rs --file src/actors/dispatcher.rs \
    "$@" -- --lib --test supervision
