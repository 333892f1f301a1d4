//! Files, polled URLs, Redis and Telegraf as sources: the real binary, killed again and again.
#![cfg(target_os = "linux")]

#[path = "faults/api.rs"]
#[allow(dead_code)]
mod api;
#[path = "support/authority.rs"]
mod authority;
#[path = "faults/instance.rs"]
#[allow(dead_code)]
mod instance;

#[path = "sources/figures.rs"]
mod figures;
#[path = "sources/files.rs"]
mod files;
#[path = "sources/http_poll.rs"]
mod http_poll;
#[path = "sources/redis.rs"]
mod redis;
#[path = "support/redis/mod.rs"]
mod redis_server;
#[path = "sources/support.rs"]
mod support;
#[path = "sources/telegraf.rs"]
mod telegraf;
