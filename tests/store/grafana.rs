//! Every statement of the dashboard on the tables, run as Grafana would run it.

use sensorhive::domain::*;
use sensorhive::storage::*;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::support::*;

const DASHBOARD: &str = include_str!("../../deploy/grafana/dashboards/sensors.json");
const MINUTE: i64 = 60_000_000;
/// 2026-05-01, 12:00.
const NOON: i64 = 1_777_636_800_000_000;

/// Every statement in it, with where it is.
fn statements(at: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_statement = matches!(name.as_str(), "rawSql" | "query" | "definition");
                match value.as_str().filter(|_| is_statement) {
                    Some(sql) => found.push((format!("{at}/{name}"), sql.to_owned())),
                    None => statements(&format!("{at}/{name}"), value, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                statements(&format!("{at}/{index}"), item, found);
            }
        }
        _ => {}
    }
}

/// What Grafana makes of a statement for six hours around noon, a minute a point, and these sensors and metrics.
fn expanded(sql: &str) -> String {
    let (from, to) = ("'2026-05-01T08:00:00Z'", "'2026-05-01T14:00:00Z'");
    let mut text = sql
        .replace("$__timeFrom()", from)
        .replace("$__timeTo()", to)
        .replace("$__interval_ms", "60000")
        .replace("$__interval", "1m")
        .replace(
            "${sensor:sqlstring}",
            "'sensor 0','it''s; drop table sensors; --'",
        )
        .replace("${metric:sqlstring}", "'metric 0','metric 1'");
    while let Some(at) = text.find("$__timeFilter(") {
        let rest = &text[at + "$__timeFilter(".len()..];
        let column = &rest[..rest.find(')').unwrap()];
        let filter = format!("{column} BETWEEN {from} AND {to}");
        text = text.replace(&format!("$__timeFilter({column})"), &filter);
    }
    assert!(!text.contains('$'), "a macro is not known here: {text}");
    text
}

pub async fn every_statement_of_the_dashboard_finds_something<F: OnPostgres>(fixture: F) {
    let store = opened(&fixture, 4).await;
    // Some add up to more than there is.
    let value = |series, index| {
        if series == 1 && index < 3 {
            f64::MAX
        } else {
            index as f64
        }
    };
    let readings: Vec<_> = (0..240)
        .flat_map(|index| {
            (0..4).map(move |series| (series, NOON + (index - 120) * MINUTE, value(series, index)))
        })
        .collect();
    let mut outcome = rows(&readings);
    outcome.windows.push(WindowResult {
        span: WindowSpan {
            series: SeriesId(0),
            kind: WindowKind::Tumbling,
            size: MINUTE,
            start: Timestamp(NOON),
        },
        count: 1,
        min: 120.0,
        max: 120.0,
        mean: 120.0,
        stddev: 0.0,
        first: 120.0,
        last: 120.0,
        revision: 0,
    });
    outcome.anomalies.push(Anomaly {
        series: SeriesId(1),
        time: Timestamp(NOON),
        value: 120.0,
        detector: DetectorKind::Threshold,
        level: Level::Warning,
        score: 0.75,
        expected: None,
        band: Band {
            low: None,
            high: Some(100.0),
        },
        explanation: "120 is above 100".into(),
    });
    commit(&store, vec![batch(2, outcome)]).await;
    store.maintain(Timestamp(NOON + 2 * 1440 * MINUTE)).await.unwrap();
    let mut found = Vec::new();
    statements("", &serde_json::from_str(DASHBOARD).unwrap(), &mut found);
    assert!(found.len() > 15, "{found:?}");
    let mut connection = fixture.database().connect().await;
    for (at, sql) in found {
        let rows = sqlx::query(AssertSqlSafe(expanded(&sql)))
            .fetch_all(&mut connection)
            .await;
        let rows = rows.unwrap_or_else(|error| panic!("{at}: {error}: {sql}"));
        assert!(!rows.is_empty(), "{at} finds nothing: {sql}");
    }
}
