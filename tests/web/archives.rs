//! The catalog of the cold archive.

use sensorhive::archive::Trouble;
use sensorhive::domain::{Day, Seq, Timestamp};
use sensorhive::storage::archives::*;
use serde_json::{Value, json};

use crate::support::App;

fn archive(day: &str, part: u32, state: ArchiveState) -> Archive {
    Archive {
        day: day.parse::<Day>().unwrap(),
        part,
        object: format!("readings/{}-{part}.parquet", day.replace('-', "/")),
        state,
        up_to: Seq(7),
        contents: (state != ArchiveState::Exporting).then_some(Contents {
            rows: 10,
            bytes: 1_000,
            checksum: RowsChecksum(1),
            sha256: Sha256([2; 32]),
        }),
        started_at: Timestamp(0),
        verified_at: Some(Timestamp(1)),
        dropped_at: None,
        restored_at: None,
        keep_until: None,
    }
}

#[actix_web::test]
async fn archives_come_by_the_page_newest_first() {
    let app = App::spawn().await;
    assert_eq!(app.get("/api/archives").await.body, json!({"data": []}));
    let archives = app.state.store.archives().unwrap();
    for (day, part, state) in [
        ("2026-03-01", 1, ArchiveState::Dropped),
        ("2026-03-01", 2, ArchiveState::Dropped),
        ("2026-03-02", 1, ArchiveState::Verified),
        ("2026-03-03", 1, ArchiveState::Exporting),
    ] {
        archives.record_archive(&archive(day, part, state)).await.unwrap();
    }
    let names = |body: &Value| -> Vec<String> {
        let data = body["data"].as_array().unwrap();
        data.iter()
            .map(|row| format!("{}/{}", row["day"].as_str().unwrap(), row["part"]))
            .collect()
    };
    let first = app.get("/api/archives?limit=3").await.body;
    assert_eq!(names(&first), ["2026-03-03/1", "2026-03-02/1", "2026-03-01/2"]);
    let next = first["next"].as_str().unwrap();
    let second = app
        .get(&format!("/api/archives?limit=3&cursor={next}"))
        .await
        .body;
    assert_eq!(names(&second), ["2026-03-01/1"]);
    assert_eq!(second["next"], Value::Null);
    assert_eq!(
        second["data"][0],
        json!({
            "day": "2026-03-01", "part": 1, "object": "readings/2026/03/01-1.parquet", "state": "dropped",
            "rows": 10, "bytes": 1_000, "checksum": format!("{:032x}", 1), "sha256": "02".repeat(32),
            "started_at": "1970-01-01T00:00:00Z", "verified_at": "1970-01-01T00:00:00.000001Z",
            "dropped_at": null, "restored_at": null, "keep_until": null,
        })
    );
    let some = app
        .get("/api/archives?from=2026-03-02&to=2026-03-02&state=verified")
        .await
        .body;
    assert_eq!(names(&some), ["2026-03-02/1"]);
    for wrong in [
        "from=yesterday",
        "to=2026-02-30",
        "state=lost",
        "cursor=x",
        "limit=0",
        "colour=red",
    ] {
        let answer = app.get(&format!("/api/archives?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text);
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_failing_archive_is_told_and_the_service_stays_ready() {
    let app = App::spawn().await;
    let status = &app.state.metrics.archive;
    status.failed(Timestamp(0), "the bucket is gone".to_owned());
    assert_eq!(
        status.trouble().map(|Trouble { message, .. }| message).as_deref(),
        Some("the bucket is gone")
    );
    let ready = app.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    let archive = &ready.body["dependencies"]["archive"];
    assert_eq!(*archive, json!({"ok": false, "because": "the bucket is gone"}));
    let trouble = &app.get("/api/archives").await.body["trouble"];
    assert_eq!(
        *trouble,
        json!({"time": "1970-01-01T00:00:00Z", "message": "the bucket is gone"})
    );
    let metrics = app.get("/metrics").await.text;
    assert!(
        metrics.contains("sensorhive_archive_failures_total 1\n"),
        "{metrics}"
    );
    status.set_waiting(Some("2026-03-01".parse().unwrap()));
    assert_eq!(app.get("/api/archives").await.body["waiting_from"], "2026-03-01");
    status.succeeded();
    assert_eq!(
        app.get("/readyz").await.body["dependencies"]["archive"],
        json!({"ok": true})
    );
    app.stop().await;
}
