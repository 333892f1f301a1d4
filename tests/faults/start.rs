//! Starts that cannot go well: one clear line, the exit code that says why, and nothing half-started.

use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::instance::{Instance, Place, Starting, report};
use crate::traffic::Random;

/// Runs it to its end.
fn run(place: &Place, flags: &[&str]) -> Output {
    place.command(flags).stderr(Stdio::piped()).output().unwrap()
}

/// The one line that is no event of the log.
fn message(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("error: "), "{text}");
    assert!(output.stdout.is_empty(), "it said that it was ready");
    lines[0].to_owned()
}

#[tokio::test]
async fn what_is_in_the_way_is_told_in_one_line() {
    let place = Place::new("", &[]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&place, &[&format!("http.listen={address}")]);
    assert_eq!(output.status.code(), Some(3));
    let port = message(&output);
    assert!(port.contains(&address), "{port}");
    assert!(
        !place.path("data").exists(),
        "a database was made although the port is taken"
    );

    std::fs::write(place.path("file"), "no directory").unwrap();
    let output = run(&place, &["storage.url=sqlite:file/below/sensorhive.db"]);
    assert_eq!(output.status.code(), Some(4));
    let directory = message(&output);
    assert!(directory.contains("file/below"), "{directory}");
    assert_eq!(
        std::fs::read_to_string(place.path("file")).unwrap(),
        "no directory"
    );

    let mut instance = Instance::start(&place).await;
    instance.sigterm();
    assert_eq!(instance.ended().await.code(), Some(0));
    let mut database = place.connect().await;
    let future = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                  VALUES (99990101000000, 'from the future', TRUE, x'00', 0)";
    sqlx::raw_sql(future).execute(&mut database).await.unwrap();
    drop(database);
    let output = run(&place, &[]);
    assert_eq!(output.status.code(), Some(5));
    let newer = message(&output);
    assert!(newer.contains("99990101000000"), "{newer}");
    report(&format!(
        "starts that cannot go well, with exit 3, 4 and 5: {port} | {directory} | {newer}"
    ));
}

#[tokio::test]
async fn a_second_service_on_a_database_refuses_and_the_first_goes_on() {
    let place = Place::new("", &[]);
    let first = Instance::start(&place).await;
    let output = run(&place, &[]);
    assert_eq!(output.status.code(), Some(4));
    let refusal = message(&output);
    assert!(
        refusal.contains("another sensorhive") && refusal.contains("sensorhive.db"),
        "{refusal}"
    );
    let answer = first.api.ingest(&json!({"sensor_id": "a", "value": 1})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(first.api.get("/readyz").await["ready"], true);

    // A killed one leaves nothing in the way of the next.
    let mut next = first.again(&[]).await;
    assert_eq!(next.api.readings("a").await.len(), 1);

    // Where locks do not hold, on a network's file system, the database itself tells who writes.
    let mut other = place.connect().await;
    let claim = sqlx::raw_sql("UPDATE writers SET epoch = epoch + 1");
    claim.execute(&mut other).await.unwrap();
    let posted = next.api.try_ingest(&json!({"sensor_id": "a", "value": 2})).await;
    if let Ok(answer) = posted {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(next.ended().await.code(), Some(4));
    let log = place.log();
    let fenced = log.lines().rfind(|line| line.starts_with("error: ")).unwrap();
    assert!(
        fenced.contains("another process has taken this database over"),
        "{fenced}"
    );
    report(&format!(
        "second service on a database: {refusal} | the older one, once fenced: {fenced}"
    ));
}

/// A disk that is full takes no log either.
#[tokio::test]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let place = Place::new("", &[]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&[]);
    command.stderr(full);
    let mut instance = Starting::of(command, &place).ready(None).await;
    let answer = instance.api.ingest(&json!({"sensor_id": "a", "value": 1})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    instance.sigterm();
    assert_eq!(instance.ended().await.code(), Some(0));
}

/// There is no moment at which a power cut leaves a database behind that cannot be started on.
#[tokio::test]
async fn killed_during_its_very_first_start_it_starts_the_next_time() {
    const PLACES: u32 = 15;
    let mut random = Random(3);
    let mut made = 0;
    for _ in 0..PLACES {
        let place = Place::new("", &[]);
        let starting = Starting::new(&place, &[]);
        tokio::time::sleep(Duration::from_millis(random.below(100))).await;
        starting.kill9();
        made += u32::from(place.database().exists());
        let instance = Instance::start(&place).await;
        let answer = instance.api.ingest(&json!({"sensor_id": "a", "value": 1})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    report(&format!(
        "kill -9 during {PLACES} very first starts, {made} of them with the database made already: each started the next time"
    ));
}
