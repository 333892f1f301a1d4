//! Input that means harm, or comes from broken devices: refused by name, without panic, stack or wait.

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
        decode_json(payload.as_bytes(), Hints::default(), &mapping, &mut found);
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
    assert_eq!(
        refused("on"),
        "0: `payload` is neither an object nor an array, nor a number or a boolean"
    );
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
fn lengths_are_accepted_up_to_their_limit() {
    let text = |length: usize| format!("{:?}", "x".repeat(length));
    let limits = [
        ("unit", MAX_UNIT_BYTES, "".to_owned(), "".to_owned()),
        ("tags", MAX_TAG_BYTES, "{\"a\":".to_owned(), "}".to_owned()),
        ("tags", MAX_TAG_BYTES, "{".to_owned(), ":1}".to_owned()),
    ];
    for (field, limit, before, after) in limits {
        let json = |length| format!("{before}{}{after}", text(length));
        assert_eq!(decoded(with(field, &json(limit))).0.len(), 1, "{field}");
        let sentence = refused(with(field, &json(limit + 1)));
        assert!(sentence.starts_with(&format!("0: `{field}` ")), "{sentence}");
    }
    let tags: Vec<String> = (0..MAX_TAGS)
        .map(|n| format!("\"t{n}\":null,\"u{n}\":1"))
        .collect();
    assert_eq!(
        decoded(with("tags", &format!("{{{}}}", tags.join(",")))).0.len(),
        1
    );
}

#[test]
fn one_item_too_many_is_too_many() {
    let items = |count| format!("[{}]", vec![with("value", "1"); count].join(","));
    let mapping = JsonMapping {
        max_items: 3,
        ..strict()
    };
    for (count, readings) in [(3, 3), (4, 0)] {
        let payload = items(count);
        let mut found = Found::default();
        decode_json(payload.as_bytes(), Hints::default(), &mapping, &mut found);
        assert_eq!(found.drafts.len(), readings);
        assert!(
            found
                .refusals
                .iter()
                .all(|refusal| refusal.kind == RejectReason::LimitReached)
        );
        assert_eq!(found.refusals.len(), usize::from(readings == 0));
    }
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
        decode_json(payload.as_bytes(), Hints::default(), &mapping, &mut found);
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
