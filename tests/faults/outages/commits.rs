//! The connection is cut at the worst moment, and readings come more than once.

use std::time::Duration;

use super::Outage;
use crate::instance::{report, until};
use crate::postgres_server::Options;
use crate::traffic::{payload, some_time_ago};

/// Whether a COMMIT came through cannot be told from the connection: the database is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_between_a_commit_and_its_answer() {
    const TIMES: u64 = 10;
    let Some(outage) = Outage::prepare("cut", &Options::default()).await else {
        return;
    };
    for _ in 0..TIMES {
        let answers = outage.proxy.answers_lost();
        outage.proxy.lose_answers(1);
        until("an answer to be lost", async || {
            (outage.proxy.answers_lost() > answers).then_some(())
        })
        .await;
        outage.progress(8).await;
        let commits = outage.proxy.commits_lost();
        outage.proxy.lose_commits(1);
        until("a commit to be lost", async || {
            (outage.proxy.commits_lost() > commits).then_some(())
        })
        .await;
        outage.progress(8).await;
        // And in the middle of whatever is under way.
        outage.proxy.cut();
        outage.progress(8).await;
    }
    let lost = (outage.proxy.answers_lost(), outage.proxy.commits_lost());
    report(&format!(
        "{} answers to COMMIT lost, {} COMMITs lost, {TIMES} times everything cut: {}",
        lost.0,
        lost.1,
        outage.recover().await
    ));
}

/// Each delivery is sent three times, by a sender that never learns, while the server's answers take their time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivered_three_times() {
    const BATCHES: u64 = 40;
    const READINGS: u64 = 50;
    let Some(outage) = Outage::with_answers("thrice", &Options::default()).await else {
        return;
    };
    outage.proxy.delay(Duration::from_millis(2));
    let sensors: Vec<String> = (0..20).map(|n| format!("again-{n}")).collect();
    let start = some_time_ago();
    let api = outage.instance.api.clone();
    let mut duplicates = 0;
    for batch in 0..BATCHES {
        let payload = payload(&sensors, start, batch * READINGS..(batch + 1) * READINGS);
        let (a, b, c) = tokio::join!(api.ingest(&payload), api.ingest(&payload), api.ingest(&payload));
        let mut stored = 0;
        for answer in [a, b, c] {
            assert_eq!(answer.status, 200, "{answer:?}");
            stored += answer.body["stored"].as_u64().unwrap();
            duplicates += answer.body["duplicates"].as_u64().unwrap();
        }
        assert_eq!(stored, READINGS * sensors.len() as u64);
    }
    let expected = BATCHES * READINGS;
    for sensor in &sensors {
        let ledger = api.caught_up(sensor).await;
        assert_eq!(
            (&ledger["stored"], &ledger["duplicate"]),
            (&expected.into(), &(2 * expected).into()),
            "{ledger}"
        );
        assert_eq!(api.readings(sensor).await.len() as u64, expected);
    }
    outage.proxy.delay(Duration::ZERO);
    report(&format!(
        "everything delivered three times, {duplicates} duplicates: {}",
        outage.recover().await
    ));
}
