//! `simulate --mqtt` publishes what a source of the service stores.

use std::process::{Command, Stdio};

use crate::mosquitto::{Broker, Options, User};
use crate::support::{connected, source, start, stored, total};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_simulated_is_stored() {
    let options = Options {
        users: vec![User {
            name: "hive",
            password: "right one",
        }],
        ..Options::default()
    };
    let Some(broker) = Broker::start(&options).await else {
        return;
    };
    let more = "username = 'hive'\npassword_file = 'password'\ntopics = ['plant/#']";
    let (place, instance) = start(&source("plant", &broker, more)).await;
    std::fs::write(place.path("password"), "right one\n").unwrap();
    connected(&instance.api, "plant").await;
    let simulating = Command::new(env!("CARGO_BIN_EXE_sensorhive"))
        .args([
            "simulate",
            "--count",
            "1500",
            "--rate",
            "100000",
            "--topic",
            "plant/{sensor_id}/x",
        ])
        .args(["--mqtt", &broker.url(), "--username", "hive", "--password-file"])
        .arg(place.path("password"))
        .stdin(Stdio::null())
        .output();
    let output = simulating.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(text.trim_end(), "1500 published, and taken by the broker");
    stored(&instance.api, 1500).await;
    assert_eq!(total(&instance.api).await.rejected, 0);
}
