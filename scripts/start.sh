#!/bin/sh
# Starts the release binary with the arguments given, in place of itself, so that signals reach the service.
set -eu
cd "$(dirname "$0")/.."
exec "${CARGO_TARGET_DIR:-target}/release/sensorhive" "$@"
