//! Payloads that are nothing but a value, and hints of whose it is.

use super::*;

fn hints<'a>(sensor: Option<&'a str>, metric: Option<&'a str>) -> Hints<'a> {
    Hints { sensor, metric }
}

fn only(result: (Vec<String>, Vec<String>)) -> String {
    let (mut readings, refusals) = result;
    assert!(
        readings.len() == 1 && refusals.is_empty(),
        "{readings:?} {refusals:?}"
    );
    readings.remove(0)
}

fn refusal(result: (Vec<String>, Vec<String>)) -> String {
    let (readings, mut refusals) = result;
    assert!(
        readings.is_empty() && refusals.len() == 1,
        "{readings:?} {refusals:?}"
    );
    refusals.remove(0)
}

#[test]
fn a_bare_value_is_a_reading_where_its_sensor_is_known() {
    let known = hints(Some("s1"), Some("temperature"));
    for (payload, value) in [
        ("21.5", "21.5"),
        (" 21.5\r\n", "21.5"),
        ("\"21.5\"", "21.5"),
        ("-3", "-3"),
        ("+7", "7"),
        ("021.50", "21.5"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("true", "1"),
        ("false\n", "0"),
    ] {
        let reading = only(decoded_as(payload, known, &strict()));
        assert_eq!(reading, format!("s1 temperature {value}"), "{payload:?}");
    }
}

#[test]
fn what_a_bare_value_is_not_is_refused_and_says_why() {
    let known = hints(Some("s1"), Some("temperature"));
    for payload in [
        "NaN", "on", "inf", "Infinity", "nan", "0x10", "1,5", "21.5 C", "\"", "\"on\"", "1 2", "-", "e",
        "True", "null",
    ] {
        assert_eq!(
            refusal(decoded_as(payload, known, &strict())),
            "0: `payload` is neither an object nor an array, nor a number or a boolean",
            "{payload}"
        );
    }
    for payload in ["1e999", "-1e999", &"9".repeat(400)] {
        assert_eq!(
            refusal(decoded_as(payload, known, &strict())),
            "0: `payload` is a number beyond what 64-bit floating point holds"
        );
    }
    assert_eq!(
        refused("21.5"),
        "0: `sensor_id` is missing: a bare value needs a key or topic that names its sensor, or `default_sensor`"
    );
    assert_eq!(
        refusal(decoded_as("21.5", hints(Some("s1"), None), &strict())),
        "0: `metric` is missing"
    );
}

#[test]
fn what_an_item_names_beats_the_hint_and_the_hint_beats_the_default() {
    let mapping = JsonMapping {
        default_sensor: SensorId::parse("default").ok(),
        default_metric: MetricName::parse("default_metric").ok(),
        ..JsonMapping::default()
    };
    let both = hints(Some("hinted"), Some("hinted_metric"));
    for (payload, hints, shown) in [
        (r#"{"sensor_id":"s","metric":"m","value":1}"#, both, "s m 1"),
        (r#"{"sensor_id":null,"value":1}"#, both, "hinted hinted_metric 1"),
        (r#"{"level":1}"#, both, "hinted level 1"),
        (r#"{"value":1}"#, Hints::default(), "default default_metric 1"),
        ("1", both, "hinted hinted_metric 1"),
        ("1", Hints::default(), "default default_metric 1"),
    ] {
        assert_eq!(only(decoded_as(payload, hints, &mapping)), shown, "{payload}");
    }
}

#[test]
fn a_hostile_hint_is_refused_and_said_to_be_one() {
    let long = "x".repeat(65_535);
    for (id, reason) in [
        ("", "is empty"),
        ("a\r\nb", "has a control character at byte 1"),
        (&long, "is 65535 bytes long, at most 256 are allowed"),
    ] {
        for payload in ["1", r#"{"value":1}"#, r#"{"level":1}"#] {
            assert_eq!(
                refusal(decoded_as(payload, hints(Some(id), None), &strict())),
                format!("0: `sensor_id` {reason}; it comes from the key or topic")
            );
        }
    }
    assert_eq!(
        refusal(decoded_as(
            "1",
            hints(Some("s"), Some("")),
            &JsonMapping::default()
        )),
        "0: `metric` is empty; it comes from the key or topic"
    );
    let named = r#"{"sensor_id":"s","metric":"m","value":1}"#;
    assert_eq!(
        only(decoded_as(named, hints(Some(""), Some("")), &strict())),
        "s m 1"
    );
}

#[test]
fn ten_million_digits_are_answered() {
    let known = hints(Some("s"), Some("m"));
    let digits = "3".repeat(10_000_000);
    assert!(refusal(decoded_as(&digits, known, &strict())).contains("beyond"));
    assert_eq!(decoded_as(format!("0.{digits}"), known, &strict()).0.len(), 1);
}

proptest! {
    #[test]
    fn any_number_is_the_same_bare_and_in_an_object(value in proptest::num::f64::ANY) {
        let known = hints(Some("s"), Some("m"));
        let bare = decoded_as(format!("{value:?}"), known, &strict());
        let inside = decoded_as(format!("{{\"value\":{value:?}}}"), known, &strict());
        if value.is_finite() {
            prop_assert_eq!(&bare, &inside);
            prop_assert_eq!(bare.0, [format!("s m {value}")]);
        } else {
            prop_assert!(bare.0.is_empty() && inside.0.is_empty());
        }
    }

    #[test]
    fn any_text_with_any_hints_is_answered_once(payload in "\\PC{0,12}", sensor in any::<Option<String>>(), metric in any::<Option<String>>()) {
        let mapping = strict();
        let mut found = Found::default();
        let bare = !payload.trim_ascii_start().starts_with(['[', '{']);
        decode_json(payload.as_bytes(), hints(sensor.as_deref(), metric.as_deref()), &mapping, &mut found);
        prop_assert!(!bare || found.drafts.len() + found.refusals.len() == 1);
        for draft in &found.drafts {
            prop_assert!(draft.value.is_finite() && SensorId::check(&draft.sensor).is_ok());
            prop_assert!(MetricName::check(&draft.metric).is_ok());
        }
    }
}
