//! The brokers that other tests stand on do what they say.
#![cfg(target_os = "linux")]

#[path = "support/mosquitto/mod.rs"]
mod mosquitto;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mosquitto::{Broker, Options, User, publisher};

const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes one message, with more arguments of `mosquitto_pub`. Whether the broker took it.
fn publish(broker: &Broker, arguments: &[&str]) -> bool {
    let port = broker.address().port().to_string();
    let output = publisher()
        .unwrap()
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "test/topic",
            "-m",
            "a message",
        ])
        .args(arguments)
        .output();
    output.unwrap().status.success()
}

/// What is retained at `test/topic`.
fn retained(broker: &Broker) -> Option<String> {
    let port = broker.address().port().to_string();
    let output = Command::new("mosquitto_sub")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "test/topic",
            "-C",
            "1",
            "-W",
            "1",
        ])
        .stdin(Stdio::null())
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    (!text.is_empty()).then(|| text.trim_end().to_owned())
}

#[tokio::test]
async fn what_is_saved_survives_sigkill_and_the_rest_does_not() {
    let Some(mut keeping) = Broker::start(&Options::persistent()).await else {
        return;
    };
    let mut forgetful = Broker::start(&Options::default()).await.unwrap();
    assert_ne!(keeping.address(), forgetful.address());
    assert!(publish(&keeping, &["-q", "1", "-r"]) && publish(&forgetful, &["-q", "1", "-r"]));
    keeping.save().await;
    for broker in [&mut keeping, &mut forgetful] {
        let address = broker.address();
        broker.kill();
        assert!(!broker.is_alive());
        broker.again().await;
        assert_eq!(broker.address(), address);
    }
    assert_eq!(retained(&keeping).as_deref(), Some("a message"));
    assert_eq!(retained(&forgetful), None);
    keeping.stop().await;
    keeping.again().await;
    assert_eq!(retained(&keeping).as_deref(), Some("a message"));
}

#[tokio::test]
async fn with_users_it_takes_nobody_else() {
    let options = Options {
        users: vec![User {
            name: "device",
            password: "correct horse",
        }],
        ..Options::default()
    };
    let Some(broker) = Broker::start(&options).await else {
        return;
    };
    assert!(publish(&broker, &["-u", "device", "-P", "correct horse"]));
    assert!(!publish(&broker, &["-u", "device", "-P", "wrong"]));
    assert!(!publish(&broker, &[]));
}

#[tokio::test]
async fn it_ends_with_its_value_and_takes_its_directory_with_it() {
    let Some(broker) = Broker::start(&Options::persistent()).await else {
        return;
    };
    let (address, directory) = (broker.address(), broker.directory().to_owned());
    assert!(directory.join("mosquitto.conf").is_file());
    drop(broker);
    assert!(TcpStream::connect(address).is_err());
    assert!(!directory.exists());
}

/// Run again as a process of its own, which is told to start a broker and is killed.
#[tokio::test]
async fn it_ends_with_its_process() {
    const CHILD: &str = "SENSORHIVE_TEST_HARNESS_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let broker = Broker::start(&Options::default()).await.unwrap();
        broker.freeze();
        println!("\n{CHILD} {} {}", broker.directory().display(), broker.address());
        std::future::pending::<()>().await;
    }
    // Where there is none, the child could not start one either.
    if Broker::start(&Options::default()).await.is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "it_ends_with_its_process", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(child.stdout.as_mut().unwrap())
        .lines()
        .find_map(|line| Some(line.unwrap().strip_prefix(CHILD)?.trim().to_owned()))
        .unwrap();
    let (directory, address) = line.split_once(' ').unwrap();
    assert!(Path::new(directory).is_dir() && TcpStream::connect(address).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = async {
        while Path::new(directory).exists() || TcpStream::connect(address).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, gone).await.is_ok(),
        "still there: {line}"
    );
}
