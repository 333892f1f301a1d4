//! Logging in, what one may publish then, and TLS.

use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::device::*;
use crate::instance::{Instance, Place};

async fn refused(instance: &Instance, version: u8, user: (&str, &str)) -> u8 {
    let login = Login {
        user: Some(user),
        ..Login::default()
    };
    let mut device = Device::open(instance.mqtt.unwrap(), version).await;
    device.send(&connect(version, "d", &login)).await;
    let answer = device.next().await.unwrap();
    assert_eq!(answer.first, 0x20);
    if answer.body[1] != 0 {
        assert_eq!(device.next().await, None);
    }
    answer.body[1]
}

fn token(place: &Place, role: &str) -> String {
    let made = place
        .command(&[])
        .args(["token", "create", "--role", role])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", place.log());
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_device_logs_in_with_a_password_or_a_token_and_publishes_where_it_may() {
    let place = place(
        "[[mqtt_listener.users]]\nname = 'plant'\npassword_file = 'password'\npublish = ['plant/a/#']
         [[mqtt_listener.users]]\nname = 'gateway'\npublish = ['plant/+/t']",
        &[],
    );
    std::fs::write(place.path("password"), "a secret\n").unwrap();
    let instance = Instance::start(&place).await;
    let (operator, viewer) = (token(&place, "operator"), token(&place, "viewer"));
    for (version, wrong, forbidden) in [(V3, 4, 5), (V5, 0x86, 0x87)] {
        for (user, password, code) in [
            ("plant", "a secret", 0),
            ("plant", "a secre", wrong),
            ("plant", &operator, wrong),
            ("anybody", &operator, 0),
            ("gateway", &operator, 0),
            ("gateway", "a secret", wrong),
            ("anybody", &viewer, forbidden),
            ("anybody", "", wrong),
        ] {
            assert_eq!(
                refused(&instance, version, (user, password)).await,
                code,
                "{user}"
            );
        }
        let login = Login {
            user: Some(("plant", "a secret")),
            ..Login::default()
        };
        let (mut device, _) = Device::log_in(&instance, version, "d", &login).await;
        device.publish("plant/a/x", &undated("allowed", 1), 1, 1).await;
        assert_eq!(device.answer(PUBACK).await, (1, 0));
        device.publish("plant/b/x", &undated("forbidden", 1), 1, 2).await;
        let code = if version == V5 { 0x87 } else { 0 };
        assert_eq!(device.answer(PUBACK).await, (2, code));
        device.publish("plant/b/x", &undated("forbidden", 1), 2, 3).await;
        assert_eq!(device.answer(PUBREC).await, (3, code));
    }
    assert_eq!(
        instance
            .api
            .try_get("/api/sensors/forbidden")
            .await
            .unwrap()
            .status,
        404
    );
    let letters = instance.api.all("/api/admin/dead-letters").await;
    assert_eq!(letters.len(), 4, "{letters:?}");
    assert!(
        letters
            .iter()
            .all(|letter| letter["detail"].as_str().unwrap().contains("topic"))
    );
    instance.api.total().await;
    let log = place.log();
    assert!(!log.contains("a secret") && !log.contains(&operator) && !log.contains(&viewer));
}

#[tokio::test]
async fn a_will_where_one_may_not_publish_is_refused() {
    let place = place(
        "[[mqtt_listener.users]]\nname = 'plant'\npassword_file = 'password'\npublish = ['plant/a/#']",
        &[],
    );
    std::fs::write(place.path("password"), "a secret").unwrap();
    let instance = Instance::start(&place).await;
    let login = Login {
        user: Some(("plant", "a secret")),
        will: Some(("plant/b", b"1")),
        ..Login::default()
    };
    let mut device = Device::open(instance.mqtt.unwrap(), V5).await;
    device.send(&connect(V5, "d", &login)).await;
    assert_eq!(device.next().await.unwrap().body[1], 0x87);
}

/// A certificate for `localhost` that signs itself, and its key, as files of the place.
fn certificate(place: &Place) {
    let made = Command::new("openssl")
        .current_dir(place.path("."))
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .output();
    let made = made.expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn devices_may_speak_tls() {
    let place = place(
        "[mqtt_listener.tls]\ncertificate_file = 'cert.pem'\nkey_file = 'key.pem'",
        &[],
    );
    certificate(&place);
    let instance = Instance::start(&place).await;
    sensorhive::tls::install_provider();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(place.path("cert.pem")).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(instance.mqtt.unwrap()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let mut device = Device::on(stream, V5);
    device.send(&connect(V5, "d", &Login::default())).await;
    assert_eq!(device.next().await.unwrap().first, 0x20);
    let large = format!(
        "[{}]",
        vec![String::from_utf8(undated("tls", 1)).unwrap(); 500].join(",")
    );
    device.publish("t", large.as_bytes(), 1, 1).await;
    assert_eq!(device.answer(PUBACK).await, (1, 0));
    // Who does not speak it is cut off.
    let mut plain = Device::open(instance.mqtt.unwrap(), V3).await;
    plain.send(&connect(V3, "d", &Login::default())).await;
    while plain.next().await.is_some() {}
    device.ping().await;
}

#[test]
fn a_port_that_is_taken_is_an_error_if_somebody_chose_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = Place::new("", &[]);
    let mut command = place.command(&[
        "mqtt_listener.enabled=true",
        &format!("mqtt_listener.listen={address}"),
    ]);
    let ended = command.arg("run").output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{}", place.log());
    assert!(
        place.log().contains("set mqtt_listener.listen to another"),
        "{}",
        place.log()
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_warning_if_nobody_chose_it() {
    // If it is taken already, that is as good.
    let _taken = std::net::TcpListener::bind("127.0.0.1:1883");
    let instance = Instance::start(&Place::new("", &["mqtt_listener.enabled=true"])).await;
    assert_eq!(instance.mqtt, None);
    let log = instance.place.log();
    assert!(log.contains("the port of the MQTT listener is taken"), "{log}");
    let sources = instance.api.get("/api/sources").await;
    assert!(!sources.to_string().contains("mqtt_listener"), "{sources}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    for (settings, named) in [
        ("users = [{ name = 'a', password_file = 'absent' }]", "absent"),
        (
            "tls = { certificate_file = 'no.pem', key_file = 'no.pem' }",
            "mqtt_listener.tls.certificate_file: no.pem",
        ),
    ] {
        let place = Place::new("", &[]);
        let file = place.path("settings.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(
            &file,
            text.replace(
                "[mqtt_listener]\nenabled = false",
                &format!("[mqtt_listener]\nlisten = '127.0.0.1:0'\n{settings}"),
            ),
        )
        .unwrap();
        let ended = place.command(&[]).arg("run").output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{}", place.log());
        assert!(place.log().contains(named), "{}", place.log());
    }
}
