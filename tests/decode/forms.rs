//! The forms of a payload, and what belongs to which item.

use super::*;

#[test]
fn missing_names_come_from_the_mapping() {
    let mapping = JsonMapping {
        default_sensor: SensorId::parse("gateway").ok(),
        default_metric: MetricName::parse("level").ok(),
        ..JsonMapping::default()
    };
    for payload in [
        r#"{"value":3}"#,
        r#"{"sensor_id":null,"metric":null,"value":3}"#,
        r#"{"level":3}"#,
    ] {
        let mut found = Found::default();
        decode_json(payload.as_bytes(), Hints::default(), &mapping, &mut found);
        assert_eq!(found.shown(), ["gateway level 3"], "{payload}");
    }
}

#[test]
fn one_bad_item_harms_only_itself() {
    let payload = format!(
        r#"[{},{{"sensor_id":"a","metric":"m","value":"x"}},7,{{"sensor_id":"","value":1}},[1],{}]"#,
        with("sensor_id", r#""first""#),
        with("sensor_id", r#""last""#)
    );
    let (readings, refusals) = decoded(&payload);
    assert_eq!(
        readings,
        [
            "first temperature 21.5 2024-10-31T00:00:00.123Z",
            "last temperature 21.5 2024-10-31T00:00:00.123Z"
        ]
    );
    assert_eq!(
        refusals,
        [
            "1: `value` is text, must be a finite number or a boolean",
            "2: `item` is not an object",
            "3: `sensor_id` is empty",
            "4: `item` is not an object",
        ]
    );
}

#[test]
fn a_refusal_keeps_the_item_as_it_came_and_its_sensor() {
    let bad = r#"{"sensor_id": "a",  "metric":"m","value":null}"#;
    let payload = format!("[{bad}]");
    let mapping = strict();
    let mut found = Found::default();
    decode_json(payload.as_bytes(), Hints::default(), &mapping, &mut found);
    assert_eq!(found.refusals[0].payload, bad.as_bytes());
    assert_eq!(found.refusals[0].sensor.as_deref(), Some("a"));
    assert_eq!(found.refusals[0].kind, RejectReason::Invalid);
}

#[test]
fn a_flat_object_is_judged_metric_by_metric() {
    let (readings, refusals) =
        decoded(r#"{"sensor_id":"s","a":1,"b":1e400,"":2,"c":"x","d":true,"b2":-0.5}"#);
    assert_eq!(readings, ["s a 1", "s d 1", "s b2 -0.5"]);
    assert_eq!(
        refusals,
        [
            "0: `b` is a number beyond what 64-bit floating point holds",
            "0: `` is no name of a metric: it is empty",
        ]
    );
    assert_eq!(
        refused(r#"{"sensor_id":"s","firmware":"2.1","level":null}"#),
        "0: `item` has no reading: neither `value` nor another field that is a number or a boolean"
    );
}

#[test]
fn a_flat_object_carries_as_many_metrics_as_allowed_and_no_more() {
    let flat = |metrics: usize| {
        let metrics: String = (0..metrics).map(|n| format!(",\"m{n}\":{n}")).collect();
        format!("{{\"sensor_id\":\"s\"{metrics}}}")
    };
    assert_eq!(decoded(flat(MAX_FLAT_METRICS)).0.len(), MAX_FLAT_METRICS);
    assert_eq!(
        refused(flat(MAX_FLAT_METRICS + 1)),
        "0: `item` has more than 1024 metrics"
    );
}

#[test]
fn a_wrapper_is_one_only_with_an_array_and_without_a_reading_of_its_own() {
    assert_eq!(decoded(r#"{"sensor_id":"s","items":3}"#).0, ["s items 3"]);
    assert_eq!(
        decoded(r#"{"sensor_id":"s","metric":"m","value":1,"items":[]}"#).0,
        ["s m 1"]
    );
    assert_eq!(decoded(r#"{"items":[]}"#), (vec![], vec![]));
    assert_eq!(decoded("[]"), (vec![], vec![]));
}

#[test]
fn a_field_given_twice_is_refused() {
    for payload in [
        r#"{"sensor_id":"s","metric":"m","value":1,"value":2}"#,
        r#"{"sensor_id":"s","metric":"m","value":1,"value":1}"#,
    ] {
        assert_eq!(refused(payload), "0: `value` is given more than once");
    }
    assert_eq!(
        refused(with("time", "1730332800")),
        "0: `timestamp` is given more than once"
    );
}

#[test]
fn escapes_are_read() {
    assert_eq!(
        decoded(r#"{"sensor_\u0069d":"caf\u00e9 \ud83d\ude00","metric":"a\/b","value":1}"#).0,
        ["café 😀 a/b 1"]
    );
}

#[test]
fn numbers_are_read_exactly() {
    for number in [
        "0.1",
        "5e-324",
        "1.7976931348623157e308",
        "9007199254740993",
        "123456789.123456789",
    ] {
        let payload = with("value", number);
        let mapping = strict();
        let mut found = Found::default();
        decode_json(payload.as_bytes(), Hints::default(), &mapping, &mut found);
        assert_eq!(
            found.drafts[0].value.to_bits(),
            number.parse::<f64>().unwrap().to_bits()
        );
    }
}
