//! The database does not take one row among thousands.

use serde_json::Value;
use sqlx::Executor;

use super::Outage;
use crate::api::number;
use crate::instance::report;
use crate::postgres_server::Options;
use crate::traffic::{item, some_time_ago};

const SENSORS: i64 = 100;
const READINGS: i64 = 10;
const BATCHES: i64 = 5;
/// What the database is told to refuse.
const REFUSED: f64 = 777.0;

fn batch(number: i64, guilty: Option<i64>) -> Value {
    let start = some_time_ago() + number * READINGS * 1_000_000;
    let mut items = Vec::new();
    for n in 0..READINGS {
        for sensor in 0..SENSORS {
            let value = if guilty == Some(sensor) && n == 3 {
                REFUSED
            } else {
                n as f64
            };
            items.push(item(&format!("row-{sensor}"), start + n * 1_000_000, value));
        }
    }
    Value::Array(items)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_row_among_thousands_is_refused() {
    let Some(outage) = Outage::with_answers("others", &Options::default()).await else {
        return;
    };
    let mut connection = outage.database.connect().await;
    connection
        .execute("ALTER TABLE readings ADD CONSTRAINT picky CHECK (value <> 777)")
        .await
        .unwrap();
    let api = outage.instance.api.clone();
    let (mut stored, mut refused) = (0, 0);
    for number_of in 0..BATCHES {
        let guilty = (number_of == 2).then_some(42);
        let answer = api.ingest(&batch(number_of, guilty)).await;
        assert_eq!(
            answer.status,
            if guilty.is_some() { 207 } else { 200 },
            "{answer:?}"
        );
        stored += number(&answer.body["stored"]);
        refused += answer.body["errors"].as_array().map_or(0, Vec::len) as u64;
    }
    let sent = (SENSORS * READINGS * BATCHES) as u64;
    assert_eq!((stored, refused), (sent - READINGS as u64, READINGS as u64));
    for sensor in 0..SENSORS {
        let name = format!("row-{sensor}");
        let lost = if sensor == 42 { READINGS as u64 } else { 0 };
        let ledger = api.caught_up(&name).await;
        assert_eq!(number(&ledger["rejected"]), lost, "{ledger}");
        assert_eq!(
            api.readings(&name).await.len() as u64,
            (READINGS * BATCHES) as u64 - lost
        );
    }
    connection
        .execute("ALTER TABLE readings DROP CONSTRAINT picky")
        .await
        .unwrap();
    report(&format!(
        "one row of {sent} refused by the database: {stored} stored, {refused} (its sensor's in that batch) in dead letters: {}",
        outage.recover().await
    ));
}
