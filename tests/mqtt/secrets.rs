//! Passwords and certificates.

use crate::authority::Authority;
use crate::instance::{Instance, Place, until};
use crate::mosquitto::{Broker, Options, User, publisher};
use crate::support::{connected, source, status, stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_a_right_one_is_taken_up() {
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
    for version in ["3.1.1", "5"] {
        let more =
            format!("version = '{version}'\nusername = 'hive'\npassword_file = 'password'\ntopics = ['#']");
        let place = Place::new(&source("plant", &broker, &more), &[]);
        std::fs::write(place.path("password"), "tell-nobody\n").unwrap();
        let instance = Instance::start(&place).await;
        let error = until("the error to be shown", async || {
            let status = status(&instance.api, "plant").await;
            assert_eq!(status["connected"], false);
            status["last_error"].as_str().map(str::to_owned)
        })
        .await;
        assert!(
            error.contains("refuses the connection: ") && error.contains("password_file"),
            "{error}"
        );
        assert!(
            error.contains("not authorized") || error.contains("bad user name"),
            "{error}"
        );
        std::fs::write(place.path("password"), "right one\n").unwrap();
        connected(&instance.api, "plant").await;
        assert_eq!(
            status(&instance.api, "plant").await["last_error"],
            serde_json::Value::Null
        );
        let log = place.log();
        assert!(
            log.contains("no connection to the broker") && log.contains("refuses"),
            "{log}"
        );
        assert!(
            !log.contains("tell-nobody") && !log.contains("right one"),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_on_both_sides() {
    let (ours, another) = (Authority::new("ours"), Authority::new("another"));
    let server = ours.sign("localhost");
    let client = ours.sign("hive");
    let options = Options {
        tls: Some(server),
        client_ca: Some(ours.certificate()),
        ..Options::default()
    };
    let Some(broker) = Broker::start(&options).await else {
        return;
    };
    let more = "topics = ['plant/+sensor_id/+metric']\ntls = { ca_file = 'ca', cert_file = 'cert', key_file = 'key' }";
    let place = Place::new(&source("plant", &broker, more), &[]);
    for (name, text) in [
        ("ca", &another.certificate()),
        ("cert", &client.0),
        ("key", &client.1),
    ] {
        std::fs::write(place.path(name), text).unwrap();
    }
    let instance = Instance::start(&place).await;
    let error = until("the error to be shown", async || {
        status(&instance.api, "plant").await["last_error"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    assert!(error.contains("TLS") && error.contains("certificate"), "{error}");
    std::fs::write(place.path("ca"), ours.certificate()).unwrap();
    connected(&instance.api, "plant").await;
    let port = broker.address().port().to_string();
    let published = publisher()
        .unwrap()
        .args([
            "-h",
            "localhost",
            "-p",
            &port,
            "-q",
            "1",
            "-t",
            "plant/s1/temperature",
            "-m",
            "{\"value\":1}",
        ])
        .arg("--cafile")
        .arg(place.path("ca"))
        .arg("--cert")
        .arg(place.path("cert"))
        .arg("--key")
        .arg(place.path("key"))
        .output()
        .unwrap();
    assert!(published.status.success(), "{published:?}");
    stored(&instance.api, 1).await;
}
