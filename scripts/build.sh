#!/bin/sh
# Builds the release binary, on a bare machine too.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh

need_to_build
need_node
build_dashboard
say "building sensorhive with $(rustc --version); the first time takes some minutes"
cargo build --release --locked
