# Builds sensorhive from source, and runs it as a user without rights, with its data in /data.

FROM node:22-bookworm-slim AS dashboard
WORKDIR /src/dashboard
COPY dashboard/package.json dashboard/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY dashboard ./
RUN npm run build

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends make pkg-config libssl-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
COPY --from=dashboard /src/dashboard/dist dashboard/dist
RUN cargo build --release --locked --bin sensorhive \
    && strip --strip-debug target/release/sensorhive

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin sensorhive \
    && install -d -o sensorhive -g sensorhive -m 0750 /data
COPY --from=build /src/target/release/sensorhive /usr/local/bin/sensorhive
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/sensorhive/

USER sensorhive
WORKDIR /data
VOLUME /data
# Not loopback, so every request needs a token. The first start prints one.
ENV SENSORHIVE__HTTP__LISTEN=0.0.0.0:8080 \
    SENSORHIVE__STORAGE__URL=sqlite:/data/sensorhive.db
EXPOSE 8080
STOPSIGNAL SIGTERM
# bash itself asks, so that nothing has to be installed for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["sensorhive"]
CMD ["run"]
