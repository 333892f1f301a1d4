# Sourced by the other scripts: sees to it that what building needs is there, and says what it does.
# What it may not install it names, with the one command that does.

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_be_root() {
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

# install_packages WHAT DEBIAN-PACKAGE...
install_packages() {
    what=$1
    shift
    if command -v apt-get >/dev/null && may_be_root; then
        say "$what is missing; installing $*"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    elif command -v apt-get >/dev/null; then
        fail "$what is missing. Install it with: sudo apt-get install -y $*"
    else
        fail "$what is missing. Install it with your system's package manager (on Debian it is: $*)"
    fi
}

# version_at_least HAVE WANT
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

rust_is_good() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    have=$(rustc --version | cut -d ' ' -f 2)
    version_at_least "${have%%-*}" "$wanted_rust"
}

need_rust() {
    wanted_rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    rust_is_good && return
    if ! command -v rustup >/dev/null; then
        command -v curl >/dev/null || install_packages curl curl ca-certificates
        say "Rust $wanted_rust or newer is missing; installing rustup into ${CARGO_HOME:-$HOME/.cargo}"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path ||
            fail "Rust could not be installed. Install Rust $wanted_rust or newer as https://rustup.rs says"
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    if ! rust_is_good; then
        say "Rust is older than $wanted_rust; installing the newest stable one beside it"
        rustup toolchain install stable --profile minimal || fail "install Rust $wanted_rust or newer"
        export RUSTUP_TOOLCHAIN=stable
    fi
    rust_is_good || fail "Rust $wanted_rust or newer is needed, and $(rustc --version) is what is there"
}

has_openssl() {
    printf '#include <openssl/ssl.h>\nint main(void) { return 0; }\n' | cc -x c -fsyntax-only - 2>/dev/null
}

# The C compiler is for SQLite and librdkafka, which are compiled in. librdkafka is built by make, and speaks TLS by the
# system's OpenSSL.
need_to_build() {
    command -v cc >/dev/null || install_packages "a C compiler" gcc libc6-dev
    command -v make >/dev/null || install_packages make make
    command -v pkg-config >/dev/null || install_packages pkg-config pkg-config
    has_openssl || install_packages OpenSSL libssl-dev
    need_rust
}

has_postgres() {
    command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1
}

# The programs of a PostgreSQL server, of which tests start their own. On Debian the package would make a server that
# always runs; where it is we who install it, it does not.
need_postgres() {
    has_postgres && return
    created=/etc/postgresql-common/createcluster.conf
    if command -v apt-get >/dev/null && may_be_root && [ ! -e "$created" ]; then
        install_packages PostgreSQL postgresql-common
        as_root sed -i 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' "$created"
    fi
    install_packages PostgreSQL postgresql
    has_postgres || fail "PostgreSQL was installed, and initdb is not there"
}

has_mosquitto() {
    { command -v mosquitto || ls /usr/sbin/mosquitto; } >/dev/null 2>&1 && command -v mosquitto_pub >/dev/null
}

# The MQTT broker Mosquitto, of which tests start their own, and its client. On Debian the package would start a broker that
# always runs; where it is we who install it, it does not.
need_mosquitto() {
    has_mosquitto && return
    if command -v apt-get >/dev/null && may_be_root; then
        policy=/usr/sbin/policy-rc.d
        ours=
        if [ ! -e "$policy" ]; then
            ours=yes
            printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
            as_root chmod +x "$policy"
        fi
        known=$(cd /etc/systemd/system/multi-user.target.wants 2>/dev/null && ls mosquitto.service 2>/dev/null || true)
        status=0
        (install_packages Mosquitto mosquitto mosquitto-clients) || status=$?
        [ -z "$ours" ] || as_root rm -f "$policy"
        # Nor after the next start of the machine.
        if [ -z "$known" ] && command -v systemctl >/dev/null; then
            as_root systemctl disable --quiet mosquitto 2>/dev/null || true
        fi
        [ "$status" = 0 ] || fail "Mosquitto could not be installed"
    else
        install_packages Mosquitto mosquitto mosquitto-clients
    fi
    has_mosquitto || fail "Mosquitto was installed, and mosquitto or mosquitto_pub is not there"
}

# Redis, of which tests start servers of their own. On Debian the package would start one that always runs; where it is we who
# install it, it does not.
need_redis() {
    command -v redis-server >/dev/null && return
    policy=/usr/sbin/policy-rc.d
    ours=
    if command -v apt-get >/dev/null && may_be_root && [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
    fi
    status=0
    (install_packages Redis redis-server) || status=$?
    [ -z "$ours" ] || as_root rm -f "$policy"
    # Nor after the next start of the machine.
    if [ -n "$ours" ] && command -v systemctl >/dev/null; then
        as_root systemctl disable --quiet redis-server 2>/dev/null || true
    fi
    [ "$status" = 0 ] || fail "Redis could not be installed"
}

# A server that speaks S3, for the tests of the archive: the Python package moto, in an environment of its own.
need_s3() {
    case ${CARGO_TARGET_DIR:-} in
    /*) s3=$CARGO_TARGET_DIR/s3 ;;
    *) s3=$PWD/${CARGO_TARGET_DIR:-target}/s3 ;;
    esac
    SENSORHIVE_TEST_PYTHON=$s3/bin/python
    export SENSORHIVE_TEST_PYTHON
    "$SENSORHIVE_TEST_PYTHON" -c 'import moto.server' 2>/dev/null && return
    command -v python3 >/dev/null || install_packages Python python3 python3-venv
    say "installing a server that speaks S3 into $s3"
    python3 -m venv "$s3" && "$s3/bin/pip" install --quiet --disable-pip-version-check 'moto[server]' ||
        fail "no server that speaks S3 could be installed: pip install 'moto[server]' failed"
}

# A mail server, for the tests of mail: the Python package aiosmtpd, in an environment of its own.
need_smtp() {
    case ${CARGO_TARGET_DIR:-} in
    /*) smtp=$CARGO_TARGET_DIR/smtp ;;
    *) smtp=$PWD/${CARGO_TARGET_DIR:-target}/smtp ;;
    esac
    SENSORHIVE_TEST_MAIL_PYTHON=$smtp/bin/python
    export SENSORHIVE_TEST_MAIL_PYTHON
    "$SENSORHIVE_TEST_MAIL_PYTHON" -c 'import aiosmtpd.smtp' 2>/dev/null && return
    command -v python3 >/dev/null || install_packages Python python3 python3-venv
    say "installing a mail server into $smtp"
    python3 -m venv "$smtp" && "$smtp/bin/pip" install --quiet --disable-pip-version-check aiosmtpd ||
        fail "no mail server could be installed: pip install aiosmtpd failed"
}

# The jars of Kafka, of which tests start brokers of their own, and what runs them: Java 17 or newer.
need_kafka() {
    case ${CARGO_TARGET_DIR:-} in
    /*) jars=$CARGO_TARGET_DIR/kafka ;;
    *) jars=$PWD/${CARGO_TARGET_DIR:-target}/kafka ;;
    esac
    SENSORHIVE_TEST_KAFKA_JARS=$jars
    export SENSORHIVE_TEST_KAFKA_JARS
    command -v java >/dev/null || install_packages Java openjdk-17-jre-headless
    pom=tests/support/kafka/pom.xml
    # As the last run left them, unless other ones are wanted since.
    cmp -s "$pom" "$jars/pom.xml" && return
    command -v mvn >/dev/null || install_packages Maven maven
    say "fetching the jars of Kafka into $jars"
    rm -rf "$jars"
    mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars" ||
        fail "the jars of Kafka could not be fetched: mvn failed"
    cp "$pom" "$jars/pom.xml"
}

wanted_node=20.19.0

node_is_good() {
    command -v node >/dev/null && command -v npm >/dev/null || return 1
    version_at_least "$(node --version | sed 's/^v//')" "$wanted_node"
}

# Node builds the dashboard; nothing of it is needed to run the service. Where the system's is too old, the newest of its long-term
# releases is put beside it, checked by its sum.
need_node() {
    node_is_good && return
    case ${CARGO_TARGET_DIR:-} in
    /*) node=$CARGO_TARGET_DIR/node ;;
    *) node=$PWD/${CARGO_TARGET_DIR:-target}/node ;;
    esac
    PATH=$node/bin:$PATH
    node_is_good && return
    command -v curl >/dev/null || install_packages curl curl ca-certificates
    command -v xz >/dev/null || install_packages xz xz-utils
    case $(uname -s)-$(uname -m) in
    Linux-x86_64) machine=linux-x64 ;;
    Linux-aarch64) machine=linux-arm64 ;;
    *) fail "Node $wanted_node or newer is missing. Install it as https://nodejs.org/en/download says" ;;
    esac
    say "Node $wanted_node or newer is missing; installing it into $node"
    from=https://nodejs.org/dist/latest-v22.x
    line=$(curl --proto '=https' --tlsv1.2 -sSf "$from/SHASUMS256.txt" | grep -E " node-v[0-9.]+-$machine\.tar\.xz\$") ||
        fail "Node could not be fetched. Install Node $wanted_node or newer as https://nodejs.org/en/download says"
    archive=${line##* }
    mkdir -p "$node"
    curl --proto '=https' --tlsv1.2 -sSf -o "$node/$archive" "$from/$archive" || fail "$from/$archive could not be fetched"
    (cd "$node" && printf '%s\n' "$line" | sha256sum -c --quiet -) || fail "$archive is not what it should be"
    tar -xJf "$node/$archive" -C "$node" --strip-components=1
    rm "$node/$archive"
    node_is_good || fail "Node was installed into $node, and does not run"
}

# What the dashboard is built from, as the lock file has it; nothing is done where that is there.
need_dashboard_packages() {
    cmp -s dashboard/package-lock.json dashboard/node_modules/.installed-lock.json && return
    say "fetching what the dashboard is built from"
    (cd dashboard && npm ci --no-audit --no-fund) || fail "npm ci failed in dashboard/"
    cp dashboard/package-lock.json dashboard/node_modules/.installed-lock.json
}

# Into dashboard/dist, which the program is then compiled with.
build_dashboard() {
    need_dashboard_packages
    say "building the dashboard"
    (cd dashboard && npm run --silent build -- --logLevel warn) || fail "the dashboard could not be built"
}

find_browser() {
    [ -n "${SENSORHIVE_TEST_CHROMIUM:-}" ] && return
    for browser in chromium chromium-browser google-chrome; do
        if command -v "$browser" >/dev/null; then
            SENSORHIVE_TEST_CHROMIUM=$(command -v "$browser")
            export SENSORHIVE_TEST_CHROMIUM
            return
        fi
    done
    return 1
}

# A browser without a window, which the tests of the dashboard drive.
need_browser() {
    find_browser && return
    install_packages Chromium chromium
    find_browser || fail "Chromium was installed, and chromium is not there"
}
