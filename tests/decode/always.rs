//! What holds for any input: an answer to every item, and a round trip for every reading.

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
        decode_json(&payload, Hints::default(), &mapping, &mut found);
        prop_assert_eq!(found.drafts.len() + found.refusals.len(), 1);
    }

    #[test]
    fn every_item_of_any_json_is_answered(payload in any_json()) {
        let text = payload.to_string();
        let mapping = JsonMapping::default();
        let mut found = Found::default();
        decode_json(text.as_bytes(), Hints::default(), &mapping, &mut found);
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
        decode_json(&payload, Hints::default(), &mapping, &mut found);
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
        decode_json(&payload, Hints::default(), &mapping, &mut found);
        prop_assert_eq!(found.sentences(), Vec::<String>::new());
        prop_assert_eq!(found.drafts[0].value.to_bits(), value.to_bits());
        prop_assert_eq!(&found.drafts, &[draft]);
    }
}
