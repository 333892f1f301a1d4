//! A real server that speaks S3, where there is one: moto, a package for Python.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use sensorhive::archive::{Location, Objects, S3Location};

use crate::support::*;
use crate::world::*;

struct Moto {
    child: Child,
    endpoint: String,
}

impl Moto {
    /// `None`, and a line that says so, where it is not installed.
    fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let python = std::env::var("SENSORHIVE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut child = Command::new(python)
            .args([
                "-u",
                "-m",
                "moto.server",
                "-H",
                "127.0.0.1",
                "-p",
                &port.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = BufReader::new(child.stderr.take()?);
        let mut line = String::new();
        while said.read_line(&mut line).unwrap() > 0 {
            if line.contains("Running on") {
                std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
                let endpoint = format!("http://127.0.0.1:{port}");
                return Some(Self { child, endpoint });
            }
        }
        let _ = child.wait();
        None
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn an_archive_lies_in_a_bucket() {
    let Some(moto) = Moto::start() else {
        use std::io::Write;
        let required = std::env::var_os("SENSORHIVE_TEST_REQUIRE").is_some_and(|value| value == "all");
        assert!(!required, "S3: no server to be had");
        let line = b"skipped: S3: no server to be had, pip install 'moto[server]'\n";
        let _ = std::io::stderr().write_all(line);
        return;
    };
    sensorhive::tls::install_provider();
    let made = reqwest::Client::new()
        .put(format!("{}/cold", moto.endpoint))
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success(), "{}", made.status());
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hunter2\n").unwrap();
    let objects = Objects::open(&Location::S3(S3Location {
        bucket: "cold".to_owned(),
        prefix: "plant a/hive".to_owned(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(moto.endpoint.clone()),
        key: Some(("sensorhive".to_owned(), secret.path().to_owned())),
    }))
    .unwrap();

    let fixture = Sqlite::new().await.unwrap();
    let store = filled(&fixture).await;
    let mut world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 40, 0))]).await;
    let before = everything_stored(&store).await;
    world.set(day, 4);
    world.elsewhere = Some(objects.clone());
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    assert_eq!(
        objects.list().await.unwrap(),
        [catalog(&store).await[0].object.clone()]
    );
    world.restore(&store, (day, day), None, false).await.unwrap();
    assert_same!(everything_stored(&store).await, before);

    let nowhere = Objects::open(&Location::S3(S3Location {
        bucket: "no-such-bucket".to_owned(),
        prefix: String::new(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(moto.endpoint.clone()),
        key: Some(("sensorhive".to_owned(), secret.path().to_owned())),
    }));
    let error = nowhere
        .unwrap()
        .put("readings/x", "x".into())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("writing readings/x at s3://no-such-bucket"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}
