//! What the tests have in common: what must be stored, and whether windows are those of an undisturbed run.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::{Api, number};
use crate::instance::{Instance, Place, until};

/// 2026-01-01.
pub const START: i64 = 1_767_225_600_000_000;
/// Windows of ten seconds that close soon.
pub const SERIES: &str = "\n[[series]]\nmatch = {}\nwindows = ['10s']\nlateness = '2s'\nidle_after = '1h'\n";

/// The reading of an index: one a second, with a value of its own.
pub fn item(sensor: &str, index: usize) -> Value {
    json!({
        "sensor_id": sensor,
        "metric": "t",
        "value": index as f64 + 0.5,
        "timestamp": START + index as i64 * 1_000_000,
    })
}

/// What is stored of a sensor, as (index, value).
pub async fn stored(api: &Api, sensor: &str) -> usize {
    let answer = api
        .try_get(&format!("/api/sensors/{sensor}/ledger"))
        .await
        .unwrap();
    match answer.status {
        200 => usize::try_from(number(&answer.body["stored"])).unwrap(),
        _ => 0,
    }
}

/// Waits until so many readings of a sensor are stored, which must be those of [`item`], each received once; and compares windows with
/// those of an instance that got the same in peace. Returns how many windows there were.
pub async fn same_as_in_peace(killed: &Instance, sensor: &str, count: usize) -> usize {
    until(&format!("{count} readings of {sensor}"), async || {
        (stored(&killed.api, sensor).await >= count).then_some(())
    })
    .await;
    let ledger = killed.api.caught_up(sensor).await;
    assert_eq!(
        (number(&ledger["received"]), number(&ledger["stored"])),
        (count as u64, count as u64),
        "{sensor}: {ledger}"
    );
    let expected: Vec<(i64, f64)> = (0..count)
        .map(|index| (START + index as i64 * 1_000_000, index as f64 + 0.5))
        .collect();
    assert!(
        killed.api.readings(sensor).await == expected,
        "readings of {sensor} differ"
    );
    let calm = Instance::start(&Place::new(SERIES, &[])).await;
    for begin in (0..count).step_by(500) {
        let items: Vec<Value> = (begin..count.min(begin + 500))
            .map(|index| item(sensor, index))
            .collect();
        assert_eq!(calm.api.ingest(&json!(items)).await.status, 200);
    }
    calm.api.caught_up(sensor).await;
    let windows = async |api: &Api| {
        let mut all = api.windows(sensor).await;
        for window in &mut all {
            // When it was closed is each instance's own, and files that were rotated may be read in another order than they were
            // written: then late lines revise windows.
            let window = window.as_object_mut().unwrap();
            window.retain(|name, _| !name.ends_with("_at") && name != "revision");
        }
        all
    };
    let (left, right) = (windows(&killed.api).await, windows(&calm.api).await);
    assert_eq!(left, right, "windows of {sensor}");
    left.len()
}

/// A place with a source of its own; `more` are the lines of its table.
pub fn place(kind: &str, more: &str) -> Arc<Place> {
    Place::new(&format!("{SERIES}\n[sources.it]\nkind = '{kind}'\n{more}\n"), &[])
}

/// What the source says of itself.
pub async fn status(api: &Api) -> Value {
    let all = api.get("/api/sources").await;
    let found = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "it");
    found.unwrap_or_else(|| panic!("{all}"))["status"].clone()
}
