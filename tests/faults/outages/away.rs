//! The server is away for a while, in every way that a server can be.

use std::time::{Duration, Instant};

use super::Outage;
use crate::instance::report;
use crate::postgres_server::{Disk, Flavor, Options, Private};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_transactions() {
    for flavor in [Flavor::Plain, Flavor::Timescale] {
        let Some(server) = Private::with(&Options::default()).await else {
            return;
        };
        let Some(mut outage) = Outage::on(server, flavor, "killed").await else {
            continue;
        };
        for _ in 0..5 {
            outage.server.kill();
            outage.last(Duration::from_millis(500)).await;
            outage.server.start().await;
            outage.progress(20).await;
        }
        report(&format!(
            "PostgreSQL killed -9 five times: {}",
            outage.recover().await
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_for_a_minute() {
    let Some(mut outage) = Outage::prepare("stopped", &Options::default()).await else {
        return;
    };
    outage.server.stop().await;
    outage.last(LONG).await;
    outage.server.start().await;
    report(&format!(
        "PostgreSQL stopped for {LONG:?}: {}",
        outage.recover().await
    ));
}

/// Connections stay open, and nothing answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_a_minute() {
    let Some(mut outage) = Outage::prepare("frozen", &Options::default()).await else {
        return;
    };
    outage.server.freeze();
    outage.last(LONG).await;
    outage.server.thaw();
    report(&format!(
        "PostgreSQL frozen for {LONG:?}: {}",
        outage.recover().await
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_again_and_again_under_load() {
    const TIMES: u32 = 20;
    let Some(mut outage) = Outage::prepare("restarted", &Options::default()).await else {
        return;
    };
    let began = Instant::now();
    for _ in 0..TIMES {
        outage.server.stop().await;
        outage.watch().await;
        outage.server.start().await;
        outage.progress(8).await;
    }
    let took = began.elapsed().as_secs();
    report(&format!(
        "PostgreSQL restarted {TIMES} times in {took} s: {}",
        outage.recover().await
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_on_its_disk() {
    let options = Options {
        disk: Some(Disk::Tables(256 << 20)),
        ..Options::default()
    };
    let Some(mut outage) = Outage::prepare("full", &options).await else {
        return;
    };
    outage.server.fill_disk(0);
    outage.last(Duration::from_secs(10)).await;
    outage.server.empty_disk();
    report(&format!(
        "PostgreSQL without room on its disk: {}",
        outage.recover().await
    ));
}
