//! Payloads, documented and hostile, through the decoder: what is a reading, what is refused, and that nothing is
//! forgotten.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use sensorhive::decode::{
    Draft, JsonMapping, MAX_FLAT_METRICS, RawTags, Refusal, Sink, decode_json, encode_canonical,
};
use sensorhive::domain::{MetricName, Quality, RejectReason, SensorId, Timestamp};
use serde_json::{Value, json};

#[derive(Default)]
struct Found<'a> {
    drafts: Vec<Draft<'a>>,
    refusals: Vec<Refusal<'a>>,
}

impl<'a> Sink<'a> for Found<'a> {
    fn reading(&mut self, draft: Draft<'a>) {
        self.drafts.push(draft);
    }

    fn refuse(&mut self, refusal: Refusal<'a>) {
        self.refusals.push(refusal);
    }
}

impl Found<'_> {
    fn shown(&self) -> Vec<String> {
        let show = |draft: &Draft<'_>| {
            let time = draft.time.map(|time| format!(" {time}")).unwrap_or_default();
            format!("{} {} {}{time}", draft.sensor, draft.metric, draft.value)
        };
        self.drafts.iter().map(show).collect()
    }

    fn sentences(&self) -> Vec<String> {
        let show = |refusal: &Refusal<'_>| format!("{}: {refusal}", refusal.item);
        self.refusals.iter().map(show).collect()
    }
}

fn strict() -> JsonMapping {
    JsonMapping {
        default_metric: None,
        ..JsonMapping::default()
    }
}

/// Decodes and gives the readings and the refusals as text.
fn decoded(payload: impl AsRef<[u8]>) -> (Vec<String>, Vec<String>) {
    let mapping = strict();
    let mut found = Found::default();
    decode_json(payload.as_ref(), &mapping, &mut found);
    (found.shown(), found.sentences())
}

/// The one refusal of a payload that gives nothing else.
fn refused(payload: impl AsRef<[u8]>) -> String {
    let (readings, mut refusals) = decoded(payload);
    assert!(
        readings.is_empty() && refusals.len() == 1,
        "{readings:?} {refusals:?}"
    );
    refusals.remove(0)
}

/// A canonical object with one field changed, or taken out by `null`.
fn with(field: &str, json: &str) -> String {
    let mut fields = BTreeMap::from([
        ("sensor_id", r#""s1""#),
        ("metric", r#""temperature""#),
        ("value", "21.5"),
        ("timestamp", "1730332800123"),
    ]);
    fields.insert(field, json);
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, json)| format!("{name:?}:{json}"))
        .collect();
    format!("{{{}}}", fields.join(","))
}

mod documented {
    use super::*;

    /// The text between ```` ```kind ```` fences, in order.
    fn blocks(kind: &str) -> Vec<&'static str> {
        let fence = format!("```{kind}\n");
        let page: &'static str = include_str!("../docs/payloads.md");
        let mut blocks = Vec::new();
        let mut rest = page;
        while let Some(from) = rest.find(&fence) {
            rest = &rest[from + fence.len()..];
            let (block, after) = rest.split_once("```").expect("a fence is closed");
            blocks.push(block.trim());
            rest = after;
        }
        blocks
    }

    #[test]
    fn every_example_gives_what_is_written_under_it() {
        let (payloads, expected) = (blocks("json"), blocks("text"));
        assert!(payloads.len() >= 5 && payloads.len() == expected.len());
        let mapping = JsonMapping::default();
        for (payload, expected) in payloads.into_iter().zip(expected) {
            let mut found = Found::default();
            decode_json(payload.as_bytes(), &mapping, &mut found);
            assert_eq!(found.sentences(), Vec::<String>::new(), "{payload}");
            assert_eq!(found.shown(), expected.lines().collect::<Vec<_>>(), "{payload}");
        }
    }

    #[test]
    fn the_first_example_has_unit_quality_and_tags_and_borrows_all_of_it() {
        let mapping = strict();
        let mut found = Found::default();
        decode_json(blocks("json")[0].as_bytes(), &mapping, &mut found);
        let draft = &found.drafts[0];
        assert!(matches!(
            (&draft.sensor, &draft.metric, &draft.unit),
            (
                Cow::Borrowed("s1"),
                Cow::Borrowed("temperature"),
                Some(Cow::Borrowed("C"))
            )
        ));
        assert_eq!(draft.quality, Quality::Good);
        let tags = draft.tags.unwrap();
        assert_eq!(tags.as_str(), r#"{"site":"a","floor":3}"#);
        let expected = [("floor", "3"), ("site", "a")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(tags.parse(), BTreeMap::from(expected));
    }
}

mod forms {
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
            decode_json(payload.as_bytes(), &mapping, &mut found);
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
        decode_json(payload.as_bytes(), &mapping, &mut found);
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
            decode_json(payload.as_bytes(), &mapping, &mut found);
            assert_eq!(
                found.drafts[0].value.to_bits(),
                number.parse::<f64>().unwrap().to_bits()
            );
        }
    }
}

mod hostile {
    use super::*;

    #[test]
    fn values_that_are_no_finite_number_are_refused_by_name() {
        let wrong = |is: &str| format!("0: `value` is {is}, must be a finite number or a boolean");
        for (json, is) in [
            ("1e400", "a number beyond what 64-bit floating point holds"),
            ("-1e400", "a number beyond what 64-bit floating point holds"),
            ("\"NaN\"", "text"),
            ("\"\\ud800\"", "text that is not valid Unicode"),
            ("null", "null"),
            ("[1]", "an array"),
            ("{\"a\":1e999}", "an object"),
        ] {
            assert_eq!(refused(with("value", json)), wrong(is), "{json}");
        }
        assert_eq!(
            refused(r#"{"sensor_id":"s","metric":"m"}"#),
            "0: `value` is missing"
        );
    }

    #[test]
    fn nan_and_infinity_are_no_json_and_are_found_in_their_item_and_field() {
        for word in ["NaN", "Infinity", "-Infinity", "nan"] {
            let bad = with("value", word);
            assert!(
                refused(&bad).starts_with("0: `value` is not JSON: "),
                "{}",
                refused(&bad)
            );
            let good = with("value", "1");
            let array = format!("[{good},\n {good},{bad},{good}]");
            assert!(refused(&array).starts_with("2: `value` is not JSON: "));
            let wrapped = format!("{{\"gateway\":\"a,b\",\"items\":{array}}}");
            assert!(refused(&wrapped).starts_with("2: `value` is not JSON: "));
        }
    }

    #[test]
    fn what_is_not_json_is_refused_whole() {
        let good = with("value", "1");
        for payload in ["{", "[", "{]", "[1", "}", &format!("[{good}") as &str, "{'a':1}"] {
            let mapping = strict();
            let mut found = Found::default();
            decode_json(payload.as_bytes(), &mapping, &mut found);
            assert!(found.drafts.is_empty() && found.refusals.len() == 1, "{payload}");
            assert_eq!(found.refusals[0].kind, RejectReason::Undecodable, "{payload}");
            assert_eq!(found.refusals[0].payload, payload.as_bytes());
        }
        for after in ["x", ",", "{}", "\u{0}"] {
            let sentence = refused(format!("{good}{after}"));
            assert!(
                sentence.starts_with("0: `payload` is not JSON: trailing characters"),
                "{sentence}"
            );
            assert!(refused(format!("[{good}]{after}")).contains("trailing characters"));
        }
        assert_eq!(refused(""), "0: `payload` is empty");
        assert_eq!(refused(" \n"), "0: `payload` is empty");
        assert_eq!(refused("21.5"), "0: `payload` is neither an object nor an array");
        assert_eq!(
            refused(b"{\"sensor_id\":\"\xff\"}"),
            "0: `payload` is not UTF-8 from byte 14"
        );
    }

    #[test]
    fn hostile_ids_are_kept_verbatim_or_refused() {
        for id in [
            "'; DROP TABLE readings; --",
            "<script>alert(1)</script>",
            "../../etc/passwd",
            "%s%n",
        ] {
            let payload = with("sensor_id", &Value::from(id).to_string());
            assert_eq!(
                decoded(payload).0,
                [format!("{id} temperature 21.5 2024-10-31T00:00:00.123Z")]
            );
        }
        for (json, reason) in [
            (r#""""#, "is empty"),
            (r#""a\r\nb""#, "has a control character at byte 1"),
            (r#""\u0000""#, "has a control character at byte 0"),
            (r#""\u001b[31m""#, "has a control character at byte 0"),
            (r#""\udc00""#, "is text that is not valid Unicode, must be text"),
            ("17", "is a number, must be text"),
            ("null", "is missing"),
        ] {
            assert_eq!(
                refused(with("sensor_id", json)),
                format!("0: `sensor_id` {reason}")
            );
            assert_eq!(refused(with("metric", json)), format!("0: `metric` {reason}"));
        }
        let long = format!("\"{}\"", "x".repeat(257));
        assert!(refused(with("sensor_id", &long)).ends_with("is 257 bytes long, at most 256 are allowed"));
        assert!(refused(with("sensor_id", "\"a\u{1}b\"")).starts_with("0: `sensor_id` is not JSON: control"));
    }

    #[test]
    fn a_hostile_field_name_is_escaped_in_the_sentence() {
        let sentence = refused(r#"{"sensor_id":"s","a\r\nSet-Cookie: b":1}"#);
        assert_eq!(
            sentence,
            r"0: `a\r\nSet-Cookie: b` is no name of a metric: it has a control character at byte 1"
        );
    }

    #[test]
    fn the_other_fields_are_refused_by_name() {
        for (field, json, starts) in [
            ("timestamp", "\"soon\"", "`timestamp` is not a time"),
            ("timestamp", "true", "`timestamp` is not a time"),
            ("timestamp", "1e300", "`timestamp` is not a time"),
            ("timestamp", "1e400", "`timestamp` is not a time"),
            ("unit", "1", "`unit` is a number, must be text"),
            ("unit", "\"a\\nb\"", "`unit` has a control character"),
            ("quality", "\"perfect\"", "`quality` must be"),
            ("quality", "192", "`quality` must be"),
            ("tags", "[]", "`tags` must be an object"),
            ("tags", r#"{"a":{"b":1}}"#, "`tags` has `a`, which is an object"),
            (
                "tags",
                r#"{"a":1e400}"#,
                "`tags` has `a`, which is a number beyond",
            ),
            ("tags", r#"{"":"x"}"#, "`tags` has a tag without a name"),
            (
                "tags",
                r#"{"a":"\u0007"}"#,
                "`tags` has `a`, with a control character",
            ),
            ("tags", r#"{"\ud800":"x"}"#, "`tags` cannot be read"),
        ] {
            let sentence = refused(with(field, json));
            assert!(
                sentence.starts_with(&format!("0: {starts}")),
                "{json}: {sentence}"
            );
        }
        let many: Vec<String> = (0..65).map(|n| format!("\"t{n}\":1")).collect();
        assert_eq!(
            refused(with("tags", &format!("{{{}}}", many.join(",")))),
            "0: `tags` has more than 64 tags"
        );
    }

    #[test]
    fn times_far_away_are_decoded_and_left_to_the_range_check() {
        for (json, shown) in [
            ("0", "1970-01-01T00:00:00Z"),
            ("\"2099-01-01T00:00:00Z\"", "2099-01-01T00:00:00Z"),
        ] {
            assert_eq!(
                decoded(with("timestamp", json)).0,
                [format!("s1 temperature 21.5 {shown}")]
            );
        }
    }

    #[test]
    fn a_hundred_thousand_levels_cost_no_stack() {
        const DEEP: usize = 100_000;
        let nest = |open: &str, close: &str| format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
        for deep in [nest("[", "]"), nest("{\"a\":", "}"), nest("[{\"a\":", "}]")] {
            for field in ["value", "sensor_id", "timestamp", "unit", "quality", "tags"] {
                let sentence = refused(with(field, &deep));
                let named = sentence.starts_with(&format!("0: `{field}` "));
                assert!(named, "{field}: {sentence}");
            }
            assert_eq!(decoded(with("other", &deep)).0.len(), 1);
            assert!(!decoded(&deep).1.is_empty());
            assert!(!decoded(format!("{{\"items\":[{deep}]}}")).1.is_empty());
        }
        for open in ["[", "{\"a\":", "{\"items\":[", "{\"tags\":{"] {
            assert!(refused(open.repeat(DEEP)).contains("is not JSON"));
        }
    }

    #[test]
    fn too_many_items_are_refused_once_before_any_is_read() {
        let item = with("value", "1");
        let payload = format!("[{}]", vec![item.as_str(); 100_000].join(","));
        for payload in [format!("{{\"items\":{payload}}}"), payload] {
            assert_eq!(
                refused(&payload),
                "0: `payload` has 100000 items, at most 10000 are allowed"
            );
            let mapping = JsonMapping {
                max_items: 100_000,
                ..strict()
            };
            let mut found = Found::default();
            decode_json(payload.as_bytes(), &mapping, &mut found);
            assert_eq!((found.drafts.len(), found.refusals.len()), (100_000, 0));
            assert_eq!(found.drafts[99_999].item, 99_999);
        }
    }

    #[test]
    fn ten_megabytes_of_anything_are_answered() {
        const SIZE: usize = 10_000_000;
        let text = "x".repeat(SIZE);
        assert!(refused(with("sensor_id", &format!("\"{text}\""))).contains("at most 256"));
        assert!(refused(with("value", &"9".repeat(SIZE))).contains("`value` is a number beyond"));
        assert_eq!(
            decoded(with("value", &format!("0.{}", "3".repeat(SIZE)))).0.len(),
            1
        );
        assert!(refused(format!("{{\"sensor_id\":\"s\"{}}}", ",\"m\":1".repeat(SIZE / 6))).contains("1024"));
        assert!(refused(format!("{{\"a\":{}", "[0,".repeat(SIZE / 3))).contains("is not JSON"));
        assert!(refused(&text).contains("neither an object nor an array"));
        assert!(refused(vec![0xff; SIZE]).contains("not UTF-8"));
        assert!(refused("[0,".repeat(SIZE / 3)).contains("is not JSON"));
    }
}

mod always {
    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            4 => proptest::sample::select(vec![
                "sensor_id", "metric", "value", "timestamp", "time", "unit", "quality", "tags", "items", "temperature",
            ])
            .prop_map(str::to_owned),
            1 => any::<String>(),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            "[a-z]{1,8}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(name.clone(), inner, 0..8)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// How often an item may be answered: once, or as often as it has metrics.
    fn allowed(item: &Value) -> Vec<usize> {
        const KNOWN: [&str; 8] = [
            "sensor_id",
            "metric",
            "value",
            "timestamp",
            "time",
            "unit",
            "quality",
            "tags",
        ];
        let Value::Object(fields) = item else {
            return vec![1];
        };
        if fields.contains_key("value") || fields.contains_key("metric") {
            return vec![1];
        }
        let is_metric = |(name, value): (&String, &Value)| {
            !KNOWN.contains(&name.as_str()) && (value.is_number() || value.is_boolean())
        };
        vec![1, fields.iter().filter(|field| is_metric(*field)).count().max(1)]
    }

    fn items(payload: &Value) -> Vec<&Value> {
        match payload {
            Value::Array(items) => items.iter().collect(),
            Value::Object(fields) if !fields.contains_key("value") && !fields.contains_key("metric") => {
                match fields.get("items") {
                    Some(Value::Array(items)) => items.iter().collect(),
                    _ => vec![payload],
                }
            }
            _ => vec![payload],
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mapping = strict();
            let mut found = Found::default();
            decode_json(&payload, &mapping, &mut found);
            prop_assert_eq!(found.drafts.len() + found.refusals.len(), 1);
        }

        #[test]
        fn every_item_of_any_json_is_answered(payload in any_json()) {
            let text = payload.to_string();
            let mapping = JsonMapping::default();
            let mut found = Found::default();
            decode_json(text.as_bytes(), &mapping, &mut found);
            let items = items(&payload);
            let mut answers = vec![0; items.len()];
            for item in found.drafts.iter().map(|d| d.item).chain(found.refusals.iter().map(|r| r.item)) {
                answers[item as usize] += 1;
            }
            for (item, count) in items.into_iter().zip(answers) {
                prop_assert!(allowed(item).contains(&count), "{} answers to {}", count, item);
            }
        }

        #[test]
        fn a_damaged_payload_is_answered(at in 0usize..300, byte in any::<u8>()) {
            let good = with("tags", r#"{"site":"\u00e4","n":1}"#);
            let mut payload = format!("{{\"items\":[{good},{good}]}}").into_bytes();
            let at = at % payload.len();
            payload[at] = byte;
            let mapping = strict();
            let mut found = Found::default();
            decode_json(&payload, &mapping, &mut found);
            prop_assert!(!found.drafts.is_empty() || !found.refusals.is_empty());
            for draft in &found.drafts {
                prop_assert!(draft.value.is_finite() && SensorId::check(&draft.sensor).is_ok());
                prop_assert!(MetricName::check(&draft.metric).is_ok());
            }
        }

        #[test]
        fn what_is_encoded_decodes_to_the_same(
            sensor in "[^\\p{Cc}]{1,40}",
            metric in "[^\\p{Cc}]{1,20}",
            value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
            time in proptest::option::of(-62_135_596_800_000_000i64..253_402_300_800_000_000),
            unit in proptest::option::of("[^\\p{Cc}]{1,10}"),
            quality in proptest::sample::select(vec![Quality::Good, Quality::Uncertain, Quality::Bad]),
            tag in proptest::option::of("[^\\p{Cc}]{1,20}"),
        ) {
            let tags = tag.map(|tag| serde_json::value::to_raw_value(&json!({ tag.clone(): tag })).unwrap());
            let draft = Draft {
                sensor: Cow::Borrowed(&sensor),
                metric: Cow::Borrowed(&metric),
                value,
                time: time.map(Timestamp),
                unit: unit.as_deref().map(Cow::Borrowed),
                quality,
                tags: tags.as_ref().map(|raw| RawTags::check(raw).unwrap()),
                item: 0,
            };
            let mut payload = Vec::new();
            encode_canonical(&draft, &mut payload);
            let mapping = strict();
            let mut found = Found::default();
            decode_json(&payload, &mapping, &mut found);
            prop_assert_eq!(found.sentences(), Vec::<String>::new());
            prop_assert_eq!(found.drafts[0].value.to_bits(), value.to_bits());
            prop_assert_eq!(&found.drafts, &[draft]);
        }
    }
}
