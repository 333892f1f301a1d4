//! Payloads in other forms, read by JSON pointers.

mod always;

use sensorhive::decode::{MAX_ROOT_BYTES, Pointer, PointerMapping, Pointers, TimeUnit, Values};

use super::*;

fn at(pointer: &str) -> Pointer {
    Pointer::parse(pointer).unwrap_or_else(|error| panic!("{pointer} {error}"))
}

fn one(value: &str) -> Pointers {
    Pointers {
        items: None,
        sensor_id: None,
        values: Values::One {
            metric: None,
            value: at(value),
            unit: None,
        },
        timestamp: None,
        timestamp_unit: TimeUnit::Auto,
        quality: None,
        tags: BTreeMap::new(),
    }
}

/// Everything that a mapping can have, with the device at the root and the values below.
fn rows() -> Pointers {
    Pointers {
        items: Some(at("/data/rows")),
        sensor_id: Some(at("root:/device/id")),
        values: Values::One {
            metric: Some(at("/type")),
            value: at("/v"),
            unit: Some(at("/u")),
        },
        timestamp: Some(at("/ts")),
        quality: Some(at("/q")),
        tags: BTreeMap::from([("site".into(), at("root:/site")), ("line".into(), at("/line"))]),
        ..one("/v")
    }
}

fn several() -> Pointers {
    let metric = |name: &str, pointer| (MetricName::parse(name).unwrap(), at(pointer));
    Pointers {
        sensor_id: Some(at("/id")),
        values: Values::Several(vec![metric("temperature", "/t"), metric("humidity", "/air/h")]),
        timestamp: Some(at("/ts")),
        ..one("")
    }
}

fn mapping(pointers: &Pointers) -> JsonMapping {
    JsonMapping {
        pointers: Some(PointerMapping::new(pointers)),
        ..strict()
    }
}

fn mapped(payload: impl AsRef<[u8]>, pointers: &Pointers) -> (Vec<String>, Vec<String>) {
    decoded_as(payload, Hints::default(), &mapping(pointers))
}

fn refused_as(payload: impl AsRef<[u8]>, pointers: &Pointers) -> String {
    let (readings, mut refusals) = mapped(payload, pointers);
    assert!(
        readings.is_empty() && refusals.len() == 1,
        "{readings:?} {refusals:?}"
    );
    refusals.remove(0)
}

const ROWS: &str = r#"{"device":{"id":17},"site":"a","data":{"rows":[
    {"type":"t","v":21.5,"u":"C","ts":1730332800,"q":"bad","line":3},
    {"type":"h","v":"40.5","ts":"2024-10-31 00:00:00","line":null},
    {"type":"on","v":true}]}}"#;

#[test]
fn items_below_have_their_device_from_the_root() {
    let mapping = mapping(&rows());
    let mut found = Found::default();
    decode_json(ROWS.as_bytes(), Hints::default(), &mapping, &mut found);
    assert_eq!(found.sentences(), Vec::<String>::new());
    assert_eq!(
        found.shown(),
        [
            "17 t 21.5 2024-10-31T00:00:00Z",
            "17 h 40.5 2024-10-31T00:00:00Z",
            "17 on 1"
        ]
    );
    let first = &found.drafts[0];
    assert_eq!((first.unit.as_deref(), first.quality), (Some("C"), Quality::Bad));
    let tags: Vec<_> = found
        .drafts
        .iter()
        .map(|draft| draft.tags.as_ref().unwrap().as_str().to_owned())
        .collect();
    assert_eq!(
        tags,
        [r#"{"line":3,"site":"a"}"#, r#"{"site":"a"}"#, r#"{"site":"a"}"#]
    );
    assert_eq!(first.tags.as_ref().unwrap().parse()["line"], "3");
    assert_eq!(found.drafts[2].item, 2);
}

#[test]
fn an_object_of_several_metrics_is_judged_metric_by_metric() {
    let pointers = several();
    assert_eq!(
        mapped(
            r#"{"id":"s","t":1,"air":{"h":2},"other":9,"ts":1730332800}"#,
            &pointers
        )
        .0,
        [
            "s temperature 1 2024-10-31T00:00:00Z",
            "s humidity 2 2024-10-31T00:00:00Z"
        ]
    );
    let (readings, refusals) = mapped(r#"{"id":"s","t":"off","air":{"h":2}}"#, &pointers);
    assert_eq!(readings, ["s humidity 2"]);
    assert_eq!(
        refusals,
        ["0: `/t` is text, must be a finite number or a boolean"]
    );
    assert_eq!(
        mapped(r#"{"id":"s","t":null,"air":{"h":2}}"#, &pointers).0,
        ["s humidity 2"]
    );
    for payload in [r#"{"id":"s"}"#, r#"{"id":"s","t":null,"air":7}"#] {
        assert_eq!(
            refused_as(payload, &pointers),
            "0: `item` has none of the metrics that the mapping names"
        );
    }
}

#[test]
fn names_that_are_not_in_the_payload_come_from_the_hint_or_the_default() {
    let pointers = Pointers {
        sensor_id: Some(at("/id")),
        ..one("/v")
    };
    let hints = Hints {
        sensor: Some("hinted"),
        metric: Some("m"),
    };
    assert_eq!(
        decoded_as(r#"{"id":"s","v":1}"#, hints, &mapping(&pointers)).0,
        ["s m 1"]
    );
    assert_eq!(
        decoded_as(r#"{"v":1}"#, hints, &mapping(&pointers)).0,
        ["hinted m 1"]
    );
    assert_eq!(
        decoded_as(r#"{"id":null,"v":1}"#, hints, &mapping(&pointers)).0,
        ["hinted m 1"]
    );
    assert_eq!(refused_as(r#"{"v":1}"#, &pointers), "0: `/id` is missing");
    assert_eq!(
        refused_as(r#"{"id":"s","v":1}"#, &pointers),
        "0: `metric` is missing"
    );
    let bad = Hints {
        sensor: Some(""),
        ..hints
    };
    assert_eq!(
        decoded_as(r#"{"v":1}"#, bad, &mapping(&pointers)).1,
        ["0: `/id` is empty; it comes from the key or topic"]
    );
}

#[test]
fn a_payload_may_itself_be_the_items_or_the_value() {
    let hints = Hints {
        sensor: Some("s"),
        metric: Some("m"),
    };
    let list = Pointers {
        items: Some(at("")),
        timestamp: Some(at("/0")),
        ..one("/1")
    };
    assert_eq!(
        decoded_as("[[1730332800,1],[1730332801,2]]", hints, &mapping(&list)).0,
        ["s m 1 2024-10-31T00:00:00Z", "s m 2 2024-10-31T00:00:01Z"]
    );
    assert_eq!(decoded_as("[]", hints, &mapping(&list)), (vec![], vec![]));
    assert_eq!(decoded_as(" 21.5 ", hints, &mapping(&one(""))).0, ["s m 21.5"]);
    // Without `items` an array is one item.
    assert_eq!(decoded_as("[7,8]", hints, &mapping(&one("/1"))).0, ["s m 8"]);
    assert_eq!(decoded_as(r#"{"1":8}"#, hints, &mapping(&one("/1"))).0, ["s m 8"]);
    for step in ["/01", "/-", "/+1", "/2", "/99999999999999999999999"] {
        let (_, refusals) = decoded_as("[7,8]", hints, &mapping(&one(step)));
        assert_eq!(refusals, [format!("0: `{step}` is missing")]);
    }
    assert_eq!(
        decoded_as(r#"{"a/b":{"m~n":{"":5}}}"#, hints, &mapping(&one("/a~1b/m~0n/"))).0,
        ["s m 5"]
    );
    assert_eq!(
        decoded_as(r#"{"\u0076":5}"#, hints, &mapping(&one("/v"))).0,
        ["s m 5"]
    );
}

#[test]
fn a_pointer_may_lead_through_another() {
    let pointers = Pointers {
        sensor_id: Some(at("/a/id")),
        tags: BTreeMap::from([("kind".into(), at("/a/b/c"))]),
        ..one("/a/b")
    };
    let (_, refusals) = mapped(r#"{"a":{"id":"s","b":{"c":1}}}"#, &pointers);
    assert_eq!(refusals, ["0: `metric` is missing"]);
    let hints = Hints {
        metric: Some("m"),
        ..Hints::default()
    };
    assert_eq!(
        decoded_as(r#"{"a":{"id":"s","b":{"c":1}}}"#, hints, &mapping(&pointers)).1,
        ["0: `/a/b` is an object, must be a finite number or a boolean"]
    );
    assert_eq!(
        decoded_as(r#"{"a":{"id":"s","b":3}}"#, hints, &mapping(&pointers)).0,
        ["s m 3"]
    );
}

#[test]
fn one_bad_item_harms_only_itself_and_is_named_by_its_pointer() {
    let item = |fields: &str| format!(r#"{{"type":"t","v":1{fields}}}"#);
    let bad = [
        r#"{"type":"t","v":"x"}"#.to_owned(),
        r#"{"type":"t"}"#.to_owned(),
        r#"{"type":"t","v":null}"#.to_owned(),
        r#"{"type":"t","v":1e400}"#.to_owned(),
        r#"{"type":"t","v":"1e400"}"#.to_owned(),
        r#"{"type":{},"v":1}"#.to_owned(),
        r#"{"type":-1,"v":1}"#.to_owned(),
        r#"{"type":"","v":1}"#.to_owned(),
        item(r#","ts":"soon""#),
        item(r#","u":7"#),
        item(r#","q":192"#),
        item(r#","line":{"a":1}"#),
        item(r#","line":"\u0007""#),
        item(r#","v":1"#),
        r#"{"\ud800":1}"#.to_owned(),
        "7".to_owned(),
    ];
    let payload = format!(
        r#"{{"device":{{"id":"s"}},"data":{{"rows":[{},{},{}]}}}}"#,
        item(""),
        bad.join(","),
        item("")
    );
    let (readings, refusals) = mapped(&payload, &rows());
    assert_eq!(readings, ["s t 1", "s t 1"]);
    let starts = [
        "1: `/v` is text, must be a finite number or a boolean",
        "2: `/v` is missing",
        "3: `/v` is null, must be",
        "4: `/v` is a number beyond what 64-bit floating point holds",
        "5: `/v` is a number beyond what 64-bit floating point holds",
        "6: `/type` is an object, must be text or a whole number",
        "7: `/type` is a number, must be text or a whole number",
        "8: `/type` is empty",
        "9: `/ts` is not a time",
        "10: `/u` is a number, must be text",
        "11: `/q` must be `good`",
        "12: `/line` is an object, must be text, a number or a boolean",
        "13: `/line` has a control character",
        "14: `/v` is given more than once",
        "15: `item` cannot be read",
        "16: `/type` is missing",
    ];
    for (refusal, start) in refusals.iter().zip(starts) {
        assert!(refusal.starts_with(start), "{refusal} is not {start}");
    }
    assert_eq!(refusals.len(), starts.len());
}

#[test]
fn what_concerns_all_items_is_refused_once_and_whole() {
    let pointers = rows();
    for (payload, sentence) in [
        ("{}", "0: `/data/rows` is missing"),
        (
            r#"{"data":{"rows":{}}}"#,
            "0: `/data/rows` is an object, must be an array",
        ),
        (
            r#"{"data":{"rows":null}}"#,
            "0: `/data/rows` is null, must be an array",
        ),
        (
            r#"{"site":1,"site":2,"data":{"rows":[{}]}}"#,
            "0: `root:/site` is given more than once",
        ),
        (
            r#"{"data":{},"data":{"rows":[{}]}}"#,
            "0: `root:/data` is given more than once",
        ),
        ("", "0: `payload` is empty"),
        (" \n", "0: `payload` is empty"),
    ] {
        assert_eq!(refused_as(payload, &pointers), sentence, "{payload}");
    }
    for payload in ["{", "x", "[1", "{}x", "NaN", r#"{"data":{"rows":[{"v":NaN}]}}"#] {
        assert!(
            refused_as(payload, &pointers).starts_with("0: `payload` is not JSON: "),
            "{payload}"
        );
    }
    assert_eq!(
        refused_as(b"\xff", &pointers),
        "0: `payload` is not UTF-8 from byte 0"
    );
    let many = format!(r#"{{"data":{{"rows":[{}]}}}}"#, vec!["{}"; 10_001].join(","));
    assert_eq!(
        refused_as(many, &pointers),
        "0: `payload` has 10001 items, at most 10000 are allowed"
    );
    let long = format!(
        r#"{{"site":"{}","data":{{"rows":[{{}}]}}}}"#,
        "x".repeat(MAX_ROOT_BYTES)
    );
    assert_eq!(
        refused_as(long, &pointers),
        "0: `root:/site` is 4098 bytes long, at most 4096 are allowed"
    );
}

#[test]
fn a_refused_item_can_be_read_again_by_itself() {
    let payload =
        r#"{"device":{"id":"s"},"data":{"rows":[{"type":"t","v":1},{"type":"t","v":"x","w":2}],"n":2}}"#;
    let before = mapping(&rows());
    let mut found = Found::default();
    decode_json(payload.as_bytes(), Hints::default(), &before, &mut found);
    let kept = &found.refusals[0].payload;
    assert_eq!(
        std::str::from_utf8(kept).unwrap(),
        r#"{"device":{"id":"s"},"data":{"rows":[{"type":"t","v":"x","w":2}],"n":2}}"#
    );
    let corrected = Pointers {
        values: Values::One {
            metric: Some(at("/type")),
            value: at("/w"),
            unit: None,
        },
        ..rows()
    };
    assert_eq!(mapped(kept, &corrected).0, ["s t 2"]);

    // What is around an item is not kept with each of them where it is long.
    let long = payload.replace("\"n\":2", &format!("\"n\":\"{}\"", "x".repeat(2_000)));
    let mut found = Found::default();
    decode_json(long.as_bytes(), Hints::default(), &before, &mut found);
    assert_eq!(&*found.refusals[0].payload, br#"{"type":"t","v":"x","w":2}"#);
    // Without items the payload is the item.
    let mut found = Found::default();
    let single = mapping(&several());
    decode_json(b" {\"id\":\"s\"} ", Hints::default(), &single, &mut found);
    assert_eq!(&*found.refusals[0].payload, b"{\"id\":\"s\"}");
}

#[test]
fn numbers_have_the_unit_of_time_that_is_given() {
    let pointers = Pointers {
        timestamp: Some(at("/ts")),
        timestamp_unit: TimeUnit::Ms,
        ..one("/v")
    };
    let hints = Hints {
        sensor: Some("s"),
        metric: Some("m"),
    };
    assert_eq!(
        decoded_as(r#"{"v":1,"ts":86400000}"#, hints, &mapping(&pointers)).0,
        ["s m 1 1970-01-02T00:00:00Z"]
    );
}

#[test]
fn a_hundred_thousand_levels_cost_no_stack() {
    const DEEP: usize = 100_000;
    let nest = |open: &str, close: &str| format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
    let deepest = Pointers {
        sensor_id: Some(at(&"/a".repeat(32))),
        tags: BTreeMap::from([("t".into(), at(&"/0".repeat(32)))]),
        ..one(&"/a/0".repeat(16))
    };
    for deep in [
        nest("[", "]"),
        nest("{\"a\":", "}"),
        nest("[{\"a\":", "}]"),
        nest("{\"a\":[", "]}"),
    ] {
        for pointers in [rows(), several(), one(""), deepest.clone()] {
            let (readings, refusals) = mapped(&deep, &pointers);
            assert!(readings.is_empty() && refusals.len() == 1, "{refusals:?}");
        }
        for field in ["id", "t", "ts"] {
            let sentence = refused_as(format!(r#"{{"id2":1,"{field}":{deep}}}"#), &several());
            assert!(!sentence.is_empty());
        }
        let payload = format!(
            r#"{{"device":{{"id":"s"}},"other":{deep},"data":{{"rows":[{{"type":"t","v":{deep}}},{{"type":"t","v":1,"x":{deep}}}]}}}}"#
        );
        let (readings, refusals) = mapped(&payload, &rows());
        assert_eq!(readings, ["s t 1"]);
        assert!(refusals[0].starts_with("0: `/v` is an "), "{}", refusals[0]);
    }
    for open in ["[", "{\"a\":", "{\"data\":{\"rows\":["] {
        assert!(refused_as(open.repeat(DEEP), &rows()).contains("is not JSON"));
    }
}

#[test]
fn many_items_that_share_a_root_are_answered() {
    let item = r#"{"type":"t","v":1}"#;
    let id = "\\u0061".repeat(256);
    let payload = format!(
        r#"{{"device":{{"id":"{id}"}},"data":{{"rows":[{}]}},"x":"{}"}}"#,
        vec![item; 10_000].join(","),
        "x".repeat(10_000_000)
    );
    let (readings, refusals) = mapped(payload, &rows());
    assert_eq!((readings.len(), refusals.len()), (10_000, 0));
}
