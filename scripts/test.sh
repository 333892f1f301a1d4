#!/bin/bash
# Every check and every test; the last line is the count of both.
#
# A part that cannot run here is skipped, and named with the reason. With SENSORHIVE_TEST_REQUIRE=all it is installed if
# that is possible, and a part that is missing still fails the run. Tests decide that for themselves: what they skip even
# then (as with TimescaleDB, which Debian does not have) is named, and fails nothing.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

passed=0
failed=0
checks=0
skipped=()
skipped_by_tests=()
stores=()
broken=()
log=${CARGO_TARGET_DIR:-target}/test.log

required() { [ "${SENSORHIVE_TEST_REQUIRE:-}" = all ]; }

# check NAME COMMAND...
check() {
    local name=$1
    shift
    say "$name: $*"
    checks=$((checks + 1))
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        broken+=("$name")
    fi
}

skip() {
    say "skipped: $*"
    skipped+=("$*")
}

# component NAME: whether a part of the Rust toolchain is there, or can be had.
component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null && rustup component add "$2" && cargo "$1" --version >/dev/null 2>&1
}

# tests: runs them all and adds up what they say.
tests() {
    say "tests: cargo test --features faults"
    mkdir -p "$(dirname "$log")"
    cargo test --locked --features faults --no-fail-fast 2>&1 | tee "$log"
    local status=${PIPESTATUS[0]} good bad ignored
    read -r good bad ignored < <(awk '/^test result: / { g += $4; b += $6; i += $8 } END { print g + 0, b + 0, i + 0 }' "$log")
    # What does not compile, or dies, says nothing.
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    if [ "$good" = 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    if [ "$bad" != 0 ]; then broken+=("tests"); fi
    if [ "$ignored" != 0 ]; then skip "$ignored tests that are marked as ignored"; fi
    # Tests may run one at a time; then a line begins with the name of the test.
    mapfile -t skipped_by_tests < <(sed -nE 's/^(test .* \.\.\. )?skipped: //p' "$log" | sort -u)
    mapfile -t stores < <(
        grep -qE '^test sqlite::.* ok$' "$log" && echo SQLite
        sed -nE 's/^(test .* \.\.\. )?store tests ran on: //p' "$log" | sort -u
    )
    ran=$((good + bad))
    passed=$((passed + good))
    failed=$((failed + bad))
}

# e2e: the dashboard in a browser, on the program that the tests were run with.
e2e() {
    local target=${CARGO_TARGET_DIR:-target}
    SENSORHIVE_BIN=$(realpath "$target")/debug/sensorhive npm --prefix dashboard run --silent e2e
}

need_to_build
if required; then
    need_node
    need_browser
    need_postgres
    need_mosquitto
    need_redis
    need_s3
    need_smtp
    need_kafka
fi

# Before the program, which is compiled with it.
if node_is_good && need_dashboard_packages; then
    check "dashboard: build" build_dashboard
    check "dashboard: types, lints, units" npm --prefix dashboard run --silent check
    dashboard=yes
else
    skip "dashboard: node $wanted_node or newer is not installed (https://nodejs.org)"
    dashboard=
fi

if component fmt rustfmt; then
    check formatting cargo fmt --check
else
    skip "formatting: rustfmt is not installed (rustup component add rustfmt)"
fi

if component clippy clippy; then
    check lints cargo clippy --locked --all-targets --all-features -- -D warnings
else
    skip "lints: clippy is not installed (rustup component add clippy)"
fi

ran=0
tests

if [ -z "$dashboard" ]; then
    skip "dashboard: pages in a browser: it could not be built"
elif find_browser; then
    check "dashboard: pages in a browser" e2e
else
    skip "dashboard: pages in a browser: no Chromium (apt-get install chromium)"
fi

if ! command -v cargo-deny >/dev/null && required; then
    say "installing cargo-deny"
    cargo install --locked cargo-deny
fi
if command -v cargo-deny >/dev/null; then
    check dependencies cargo deny --locked check licenses bans sources
else
    skip "dependencies: cargo-deny is not installed (cargo install --locked cargo-deny)"
fi

echo
echo "$ran tests and $checks checks ran"
if [ "${#stores[@]}" != 0 ]; then (IFS=,; echo "store tests ran on: ${stores[*]}") | sed 's/,/, /g'; fi
for part in "${broken[@]}"; do echo "failed: $part"; done
for part in "${skipped[@]}" "${skipped_by_tests[@]}"; do echo "skipped: $part"; done
all_skipped=$((${#skipped[@]} + ${#skipped_by_tests[@]}))
if [ "$all_skipped" = 0 ]; then
    echo "$passed passed, $failed failed"
else
    echo "$passed passed, $failed failed, $all_skipped skipped"
fi
[ "$failed" = 0 ] || exit 1
! required || [ "${#skipped[@]}" = 0 ]
