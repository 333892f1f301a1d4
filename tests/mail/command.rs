//! `sensorhive test-email`, the real binary.

use std::io::Write;
use std::process::{Command, Output};

use crate::parts::parse;
use crate::smtp::{Bad, Behavior, Options, Server, free_port};

fn run(settings: &str, args: &[&str]) -> Output {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(settings.as_bytes()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensorhive"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SENSORHIVE") {
            command.env_remove(name);
        }
    }
    command
        .arg("--config")
        .arg(file.path())
        .arg("test-email")
        .args(args);
    command.output().unwrap()
}

fn receiver(name: &str, port: u16) -> String {
    format!(
        "[alerting.receivers.{name}]\nkind = 'email'\nsmtp = 'smtp://127.0.0.1:{port}'\nfrom = 'hive@example.org'\nto = ['{name}@example.org']\ntimeout = '30s'\n"
    )
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_is_sent_and_the_answer_told() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let settings = receiver("ops", server.port) + &receiver("night", server.port);
    let output = run(&settings, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "night: taken for night@example.org: 250 2.0.0 queued as 4711\nops: taken for ops@example.org: 250 2.0.0 queued as 4711\n"
    );
    let received = server.received(2).await;
    let message = parse(&received[0].bytes);
    assert_eq!(
        message.subject(),
        Some("[CRITICAL] boiler-7 temperature 93.1 °C (limit 80)")
    );
    assert_eq!(message.parts.len(), 5, "there is a picture");
    assert!(message.body_text(0).unwrap().contains("This is a test."));
    let output = run(&settings, &["--receiver", "ops"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(server.received(3).await[2].to, ["ops@example.org"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_not_take_it_is_named() {
    let bad = Bad::start(Behavior::Says("RCPT", "550 5.1.1 no such user")).await;
    let settings = receiver("ops", bad.address.port()) + &receiver("night", free_port());
    let output = run(&settings, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(
        told.contains("ops: refused: ops@example.org: ") && told.contains("no such user"),
        "{told}"
    );
    assert!(told.contains("night: no connection: "), "{told}");
    assert!(
        stderr(&output).contains("not delivered to everybody of: night, ops"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_cannot_be_used_is_told_before_anything_is_sent() {
    let templates = tempfile::tempdir().unwrap();
    std::fs::write(templates.path().join("mail.txt"), "{{ subject").unwrap();
    let wrong = format!(
        "{}templates = '{}'\n",
        receiver("ops", 1),
        templates.path().display()
    );
    let missing = format!("{}templates = '/no/such/folder'\n", receiver("ops", 1));
    for (settings, args, words) in [
        (wrong.as_str(), &[][..], "the template mail.txt is wrong"),
        (
            &missing,
            &[],
            "the template /no/such/folder/subject.txt cannot be read",
        ),
        ("", &[], "no receiver of the kind email"),
        ("", &["--receiver", "ops"], "there is no receiver \"ops\""),
    ] {
        let output = run(settings, args);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}
