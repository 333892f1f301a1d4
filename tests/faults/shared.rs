//! Two real instances on one PostgreSQL: who may join, what each has for itself, what is refused, and one that freezes while its
//! partitions are taken. Where PostgreSQL is not installed it says so and passes.

use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Signal, kill_process};
use sensorhive::domain::SourceName;
use sensorhive::storage::{InstanceId, PostgresSettings, PostgresStore, Store, Timescale};
use serde_json::json;

use crate::instance::{Instance, Place, Starting, report, until};
use crate::postgres_server::{Database, Flavor, Server};

fn place(database: &Database, name: Option<&str>) -> Arc<Place> {
    let storage = match name {
        Some(name) => format!("[storage]\nshared = true\ninstance = '{name}'\n"),
        None => String::new(),
    };
    let url = format!("storage.url={}", database.url());
    Place::new(&storage, &[&url, "storage.timescaledb=off"])
}

/// The message with which it refuses to start.
fn refusal(place: &Place) -> String {
    let output = place.command(&[]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8(output.stderr).unwrap();
    let error = text.lines().find(|line| line.starts_with("error: "));
    error.expect("it says why").to_owned()
}

async fn stored(instance: &Instance, sensor: &str, more_than: usize) -> usize {
    until("more readings of its own", async || {
        let path = format!("/api/sensors/{sensor}/readings?metric=error_rate&limit=1000");
        let answer = instance.api.try_get(&path).await.ok()?;
        let rows = answer.body["data"].as_array()?.len();
        (rows > more_than).then_some(rows)
    })
    .await
}

async fn rewinds(instance: &Instance) -> u64 {
    let figures = instance.api.text("/metrics").await;
    let line = figures
        .lines()
        .find(|line| line.starts_with("sensorhive_rewinds_total "));
    line.map_or(0, |line| line.split(' ').next_back().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_share_a_database_and_a_frozen_one_finds_out() {
    let Some(server) = Server::shared().await else {
        return;
    };
    let Some(database) = server.database(Flavor::Plain).await else {
        return;
    };
    let places = ["a", "b"].map(|name| place(&database, Some(name)));
    let a = Instance::start(&places[0]).await;
    let b = Starting::new(&places[1], &[]).ready(Some(a.token.clone())).await;

    let same = refusal(&place(&database, Some("a")));
    assert!(same.contains("storage.instance"), "{same}");
    let alone = refusal(&place(&database, None));
    assert!(alone.contains("storage.shared"), "{alone}");

    for instance in [&a, &b] {
        let answer = instance.api.ingest(&json!({"sensor_id": "x", "value": 1})).await;
        assert_eq!(answer.status, 409, "{answer:?}");
        assert!(
            answer.body["detail"].as_str().unwrap().contains("storage.shared"),
            "{answer:?}"
        );
    }
    let of_a = stored(&a, "sensorhive-a", 0).await;
    stored(&b, "sensorhive-b", 0).await;
    let theirs = a.api.try_get("/api/sensors/sensorhive-a/state").await.unwrap();
    assert_eq!(theirs.status, 200, "{theirs:?}");

    // A has a partition, freezes, and B takes it.
    let mut settings = PostgresSettings::from_url(database.url()).unwrap();
    (settings.timescale, settings.shared) = (Timescale::Off, true);
    let store = PostgresStore::open(&settings).await.unwrap();
    store.claim_writer(&InstanceId("c".to_owned())).await.unwrap();
    let (topic, partition) = (SourceName::parse("topic").unwrap(), ["t/0".to_owned()]);
    store.claim_positions(&topic, &partition).await.unwrap();
    let mut connection = database.connect().await;
    sqlx::raw_sql("UPDATE positions SET owner = 'a'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(rewinds(&a).await, 0);
    kill_process(a.pid(), Signal::STOP).unwrap();
    until("the claim", async || {
        // A transaction that froze with it holds its rows until the server gives it up.
        store.claim_positions(&topic, &partition).await.ok()
    })
    .await;
    kill_process(a.pid(), Signal::CONT).unwrap();
    until("it has found out", async || (rewinds(&a).await > 0).then_some(())).await;
    stored(&a, "sensorhive-a", of_a + 2).await;
    assert!(
        places[0].log().contains("another instance was there before"),
        "{}",
        places[0].log()
    );
    assert_eq!(rewinds(&b).await, 0, "nobody disturbed it");
    store.close().await;

    // Killed, it leaves nothing in its own way.
    let a = a.again(&[]).await;
    stored(&a, "sensorhive-a", of_a + 2).await;
    report(&format!(
        "two on one database: {same} | {alone} | frozen while its partition was taken, it rewound and went on"
    ));
}
