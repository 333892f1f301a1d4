# The doors of the house. `make run` and `make test` set up what they need on a bare machine; the scripts say what they do.

.PHONY: build run demo test bench bench-kafka bench-live bench-mqtt bench-overview bench-reading dashboard screenshots lint fmt audit mutants quality

# Builds the release binary: target/release/sensorhive
build:
	scripts/build.sh

# Builds and starts. Flags go into ARGS: make run ARGS="--set http.listen=127.0.0.1:9090"
run: build
	scripts/start.sh run $(ARGS)

# As run, with 200 simulated sensors that misbehave.
demo: build
	scripts/start.sh demo $(ARGS)

# Every check and every test. With SENSORHIVE_TEST_REQUIRE=all nothing may be skipped.
test:
	scripts/test.sh

# Prints the figures, each beside its ceiling from the same run.
bench:
	cargo bench --locked --bench core --bench pipeline --bench postgres --bench store --bench supervision

# Messages out of a Kafka broker of its own, whose jars it fetches.
bench-kafka:
	bash -c '. scripts/setup.sh && need_kafka && cargo bench --locked --bench kafka'

# A thousand WebSocket clients, some of which stand still.
bench-live:
	cargo bench --locked --bench live

# MQTT messages through Mosquitto, which it installs, and to the listener.
bench-mqtt:
	bash -c '. scripts/setup.sh && need_mosquitto && cargo bench --locked --bench mqtt'

# Questions to PostgreSQL with 10 million readings in it; takes a quarter of an hour.
bench-reading:
	cargo bench --locked --bench reading

# How well anomalies are found. NAB=DIR is the folder of labelled series, with its score.py.
quality:
	NAB=$(NAB) scripts/quality.sh
	cargo bench --locked --bench quality

# The dashboard alone, into dashboard/dist.
dashboard:
	bash -c '. scripts/setup.sh && need_node && build_dashboard'

# The pictures in docs/images, of a debug build that was made before.
screenshots:
	bash -c '. scripts/setup.sh && need_node && need_browser && build_dashboard && cd dashboard && npm run screenshots'

# The overview with 100,000 sensors, in a browser, of a release build that was made before.
bench-overview:
	bash -c '. scripts/setup.sh && need_node && need_browser && build_dashboard && cd dashboard && SENSORHIVE_BIN=$${SENSORHIVE_BIN:-../target/release/sensorhive} npm run fleet'

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets --all-features -- -D warnings

fmt:
	cargo fmt

# Looks for known vulnerabilities. Fetches the RustSec database, so it needs the network.
audit:
	cargo deny --locked check advisories

# Breaks the heart of the program in small ways, and reports what no test noticed.
mutants:
	scripts/mutants.sh
