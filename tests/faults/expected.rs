//! What windows must come to: computed here by going through the readings, and compared with what was stored.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::time;

/// Of the windows that start before `until`: start in µs, and the readings of each in order of time.
pub fn windows(readings: &[(i64, f64)], size: i64, until: i64) -> BTreeMap<i64, Vec<f64>> {
    let mut sorted = readings.to_vec();
    sorted.sort_by_key(|(time, _)| *time);
    let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for (time, value) in sorted {
        let start = time.div_euclid(size) * size;
        if start + size <= until {
            windows.entry(start).or_default().push(value);
        }
    }
    windows
}

/// The stored windows are those that the readings make, no more and no fewer.
pub fn assert_windows(sensor: &str, stored: &[Value], expected: &BTreeMap<i64, Vec<f64>>) {
    let starts: Vec<i64> = stored.iter().map(|window| time(&window["start"]).0).collect();
    let wanted: Vec<i64> = expected.keys().copied().collect();
    assert_eq!(starts, wanted, "windows of {sensor}");
    for (window, values) in stored.iter().zip(expected.values()) {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let stddev = if count > 1.0 {
            (squares / (count - 1.0)).sqrt()
        } else {
            0.0
        };
        let exact = [
            ("count", count),
            ("min", values.iter().copied().fold(f64::INFINITY, f64::min)),
            ("max", values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            ("first", values[0]),
            ("last", values[values.len() - 1]),
        ];
        for (field, value) in exact {
            assert_eq!(
                window[field].as_f64(),
                Some(value),
                "{field} of {sensor} in {window}"
            );
        }
        assert_near(sensor, window, "mean", mean);
        assert_near(sensor, window, "stddev", stddev);
    }
}

/// Two instances came to the same windows.
pub fn assert_same_windows(sensor: &str, left: &[Value], right: &[Value]) {
    assert_eq!(left.len(), right.len(), "windows of {sensor}");
    for (left, right) in left.iter().zip(right) {
        for field in [
            "kind", "start", "end", "count", "min", "max", "first", "last", "revision",
        ] {
            assert_eq!(
                left[field], right[field],
                "{field} of {sensor}: {left} and {right}"
            );
        }
        for field in ["mean", "stddev"] {
            assert_near(sensor, left, field, right[field].as_f64().unwrap());
        }
    }
}

fn assert_near(sensor: &str, window: &Value, field: &str, expected: f64) {
    let found = window[field].as_f64().unwrap();
    let allowed = 1e-9 * expected.abs().max(1e-3);
    assert!(
        (found - expected).abs() <= allowed,
        "{field} of {sensor} is {found}, not {expected}, in {window}"
    );
}
