//! What holds for any payload and any mapping.

use super::*;

fn any_value() -> impl Strategy<Value = Value> {
    let name = proptest::sample::select(vec!["a", "b", "data", "rows", "0", "1"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        proptest::sample::select(vec!["s", "", "1.5", "good", "2024-10-31 00:00:00", "\n"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_pointer() -> impl Strategy<Value = String> {
    let step = proptest::sample::select(vec!["a", "b", "data", "rows", "0", "1"]);
    proptest::collection::vec(step, 0..4)
        .prop_map(|steps| steps.iter().map(|step| format!("/{step}")).collect())
}

fn any_pointers() -> impl Strategy<Value = Pointers> {
    let pointer = || {
        (any::<bool>(), any_pointer())
            .prop_map(|(root, text)| at(&format!("{}{text}", if root { "root:" } else { "" })))
    };
    let optional = || proptest::option::of(pointer());
    let several = proptest::collection::vec(pointer(), 1..4).prop_map(|pointers| {
        let named = pointers.into_iter().enumerate();
        Values::Several(
            named
                .map(|(n, pointer)| (MetricName::parse(&format!("m{n}")).unwrap(), pointer))
                .collect(),
        )
    });
    let single = (optional(), pointer(), optional()).prop_map(|(metric, value, unit)| Values::One {
        metric,
        value,
        unit,
    });
    (
        proptest::option::of(any_pointer()),
        optional(),
        prop_oneof![single, several],
        optional(),
        proptest::sample::select(vec![TimeUnit::Auto, TimeUnit::S, TimeUnit::Ns]),
        optional(),
        proptest::option::of(pointer()),
    )
        .prop_map(
            |(items, sensor_id, values, timestamp, timestamp_unit, quality, tag)| Pointers {
                items: items.as_deref().map(at),
                sensor_id,
                values,
                timestamp,
                timestamp_unit,
                quality,
                tags: tag.into_iter().map(|tag| ("tag".to_owned(), tag)).collect(),
            },
        )
}

proptest! {
    #[test]
    fn a_value_is_found_where_serde_json_finds_it(payload in any_value(), pointer in any_pointer()) {
        let hints = Hints { sensor: Some("s"), metric: Some("m") };
        let (readings, refusals) = decoded_as(payload.to_string(), hints, &mapping(&one(&pointer)));
        let expected = payload.pointer(&pointer);
        let shown = |value: f64| vec![format!("s m {value}")];
        match expected {
            Some(Value::Number(number)) => prop_assert_eq!(readings, shown(number.as_f64().unwrap())),
            Some(Value::Bool(value)) => prop_assert_eq!(readings, shown(f64::from(u8::from(*value)))),
            Some(Value::String(text)) if text == "1.5" => prop_assert_eq!(readings, shown(1.5)),
            Some(_) => prop_assert!(refusals[0].contains("must be a finite number or a boolean")),
            None => prop_assert_eq!(refusals, [format!("0: `{pointer}` is missing")]),
        }
    }

    #[test]
    fn every_item_is_answered_whatever_the_mapping(payload in any_value(), pointers in any_pointers()) {
        let text = payload.to_string();
        let mapping = mapping(&pointers);
        let mut found = Found::default();
        decode_json(text.as_bytes(), Hints { metric: Some("m"), sensor: Some("s") }, &mapping, &mut found);
        let most = match &pointers.values {
            Values::One { .. } => 1,
            Values::Several(metrics) => metrics.len(),
        };
        let items = match &pointers.items {
            Some(items) => payload.pointer(items.as_str()).and_then(Value::as_array).map(Vec::len),
            None => Some(1),
        };
        let mut answers = vec![0; items.unwrap_or(1)];
        for item in found.drafts.iter().map(|d| d.item).chain(found.refusals.iter().map(|r| r.item)) {
            answers[item as usize] += 1;
        }
        prop_assert!(answers.iter().all(|count| (1..=most).contains(count)), "{:?} {}", answers, text);
        for draft in &found.drafts {
            prop_assert!(draft.value.is_finite() && SensorId::check(&draft.sensor).is_ok());
            prop_assert!(MetricName::check(&draft.metric).is_ok());
        }
        // What is refused is refused again, alone, for the same reason, unless it depends on its place among the items.
        let items = pointers.items.as_ref().map(|items| format!("\"root:{}", items.as_str()));
        let by_place = items.is_some_and(|items| format!("{pointers:?}").contains(&items));
        for refusal in found.refusals.iter().filter(|_| !by_place) {
            let mut again = Found::default();
            decode_json(&refusal.payload, Hints { metric: Some("m"), sensor: Some("s") }, &mapping, &mut again);
            prop_assert!(again.refusals.iter().any(|other| other.reason == refusal.reason), "{}", refusal);
        }
    }

    #[test]
    fn any_bytes_are_answered_by_any_mapping(payload in proptest::collection::vec(any::<u8>(), 0..100), pointers in any_pointers()) {
        let mapping = mapping(&pointers);
        let mut found = Found::default();
        decode_json(&payload, Hints::default(), &mapping, &mut found);
        let empty_list = payload.trim_ascii() == b"[]";
        prop_assert!(empty_list || !found.drafts.is_empty() || !found.refusals.is_empty());
    }

    #[test]
    fn a_damaged_payload_is_answered(at in 0usize..300, byte in any::<u8>()) {
        let mut payload = ROWS.as_bytes().to_vec();
        let at = at % payload.len();
        payload[at] = byte;
        let mapping = mapping(&rows());
        let mut found = Found::default();
        decode_json(&payload, Hints::default(), &mapping, &mut found);
        prop_assert!(!found.drafts.is_empty() || !found.refusals.is_empty());
        prop_assert!(found.drafts.iter().all(|draft| draft.value.is_finite()));
    }
}
