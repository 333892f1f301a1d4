//! Line protocol: what Telegraf and InfluxDB's own examples look like, what is hostile, and a round trip through an encoder.

use super::*;
use sensorhive::decode::{Format, Lines, TimeUnit, line_parts};

fn mapping(unit: TimeUnit) -> JsonMapping {
    JsonMapping {
        format: Format::Lines(unit),
        ..JsonMapping::default()
    }
}

#[derive(Default)]
struct Told<'a> {
    found: Found<'a>,
    ignored: Vec<String>,
}

impl<'a> Sink<'a> for Told<'a> {
    fn reading(&mut self, draft: Draft<'a>) {
        self.found.reading(draft);
    }

    fn refuse(&mut self, refusal: Refusal<'a>) {
        self.found.refuse(refusal);
    }

    fn ignored(&mut self, field: Cow<'a, str>) {
        self.ignored.push(field.into_owned());
    }
}

fn told<'a>(payload: &'a str, mapping: &'a JsonMapping) -> Told<'a> {
    let mut told = Told::default();
    decode(payload.as_bytes(), Hints::default(), mapping, &mut told);
    told
}

#[test]
fn what_agents_write_is_read() {
    // CRLF, comments, tags in any order, and all kinds of fields.
    let payload = "# by an agent\r\n\
        cpu,host=web1,cpu=cpu0 usage_idle=98.5,usage_user=1e-3 1730332800000000000\r\n\
        \r\n\
        boiler,sensor_id=s\\ 1,site=north temperature=21.5,on=t,pulses=12i,count=18446744073709551615u\n\
        disk\\ io,path=/a\\,b\\=c reads=-4i,text=\"a, b=\\\"c\\\" \\\\\" 1730332800000000001  \n\
        room,sensor_id=s2 value=20 -1";
    let mapping = mapping(TimeUnit::Ns);
    let told = told(payload, &mapping);
    assert_eq!(told.found.sentences(), Vec::<String>::new());
    assert_eq!(
        told.found.shown(),
        [
            "cpu,cpu=cpu0,host=web1 usage_idle 98.5 2024-10-31T00:00:00Z",
            "cpu,cpu=cpu0,host=web1 usage_user 0.001 2024-10-31T00:00:00Z",
            "s 1 temperature 21.5",
            "s 1 on 1",
            "s 1 pulses 12",
            "s 1 count 18446744073709552000",
            "disk\\ io,path=/a\\,b\\=c reads -4 2024-10-31T00:00:00Z",
            "s2 room 20 1969-12-31T23:59:59.999999Z",
        ]
    );
    assert_eq!(told.ignored, ["text"]);
    let tags = |index: usize| told.found.drafts[index].tags.as_ref().map(RawTags::as_str);
    assert_eq!(tags(0), Some(r#"{"cpu":"cpu0","host":"web1"}"#));
    assert_eq!(tags(2), Some(r#"{"site":"north"}"#));
    assert_eq!(tags(6), Some(r#"{"path":"/a,b=c"}"#));
    assert_eq!(tags(7), None);
    let items: Vec<u32> = told.found.drafts.iter().map(|draft| draft.item).collect();
    assert_eq!(items, [0, 0, 1, 1, 1, 1, 2, 3]);
}

#[test]
fn times_count_what_the_precision_says() {
    for (unit, time) in [
        (TimeUnit::S, "1730332800"),
        (TimeUnit::Ms, "1730332800000"),
        (TimeUnit::Us, "1730332800000000"),
        (TimeUnit::Ns, "1730332800000000999"),
    ] {
        let mapping = mapping(unit);
        let line = format!("m,sensor_id=s a=1 {time}");
        assert_eq!(
            told(&line, &mapping).found.shown(),
            ["s a 1 2024-10-31T00:00:00Z"]
        );
    }
}

#[test]
fn a_line_that_is_wrong_is_refused_alone_and_says_why() {
    let mapping = mapping(TimeUnit::Ns);
    let long = format!("m,t={} a=1", "x".repeat(257));
    let many_tags: String = (0..65).map(|n| format!(",t{n}=1")).collect();
    let many_tags = format!("m,sensor_id=s{many_tags} a=1");
    for (line, sentence) in [
        (",t=1 a=1", "`measurement` is missing"),
        ("m", "`fields` are missing, or not each a name, `=` and a value"),
        (
            "m,sensor_id=s",
            "`fields` are missing, or not each a name, `=` and a value",
        ),
        ("m a", "`fields` are missing, or not each a name, `=` and a value"),
        (
            "m a=1,",
            "`fields` are missing, or not each a name, `=` and a value",
        ),
        ("m a=", "`a` is neither a number nor a boolean nor text in quotes"),
        (
            "m a=on",
            "`a` is neither a number nor a boolean nor text in quotes",
        ),
        (
            "m a=NaN",
            "`a` is neither a number nor a boolean nor text in quotes",
        ),
        (
            "m a=inf",
            "`a` is neither a number nor a boolean nor text in quotes",
        ),
        (
            "m a=1e999",
            "`a` is a number beyond what 64-bit floating point holds",
        ),
        ("m a=9223372036854775808i", "`a` is not a whole number of 64 bits"),
        ("m a=1.5i", "`a` is not a whole number of 64 bits"),
        ("m a=-1u", "`a` is not a whole number without sign of 64 bits"),
        ("m a=\"x\"", "`a` is text, and the line has no number or boolean"),
        ("m a=\"x\"y", "`fields` have something after the quotes of a text"),
        ("m a=\"x", "`a` has quotes that do not close"),
        ("m a=1 soon", "`timestamp` is not a whole number of 64 bits"),
        ("m a=1 1 2", "`timestamp` is not a whole number of 64 bits"),
        ("m a=1 1.5", "`timestamp` is not a whole number of 64 bits"),
        ("m, a=1", "`tags` need a name, `=` and a text each"),
        ("m,t a=1", "`tags` need a name, `=` and a text each"),
        (
            "m,t= a=1",
            "`t` is a tag that needs one text; `,`, `=` and blanks in it need `\\` before them",
        ),
        (
            "m,t=a=b a=1",
            "`t` is a tag that needs one text; `,`, `=` and blanks in it need `\\` before them",
        ),
        ("m,t=1,t=2 a=1", "`t` is given more than once"),
        (
            &long,
            "`measurement and tags` together is 261 bytes long, at most 256 are allowed; a tag `sensor_id` names the sensor",
        ),
        (&many_tags, "`tags` has more than 64 tags"),
        ("m,sensor_id=s,t=\u{1} a=1", "`t` has a control character"),
        (
            "m,sensor_id=a\u{7}b a=1",
            "`sensor_id` has a control character at byte 1",
        ),
    ] {
        let payload = format!("m,sensor_id=g a=1\n{line}\nm,sensor_id=g a=2");
        let told = told(&payload, &mapping);
        assert_eq!(told.found.sentences(), [format!("1: {sentence}")], "{line}");
        assert_eq!(told.found.shown(), ["g a 1", "g a 2"], "{line}");
        assert_eq!(told.found.refusals[0].payload, line.as_bytes());
    }
}

#[test]
fn a_field_that_is_wrong_harms_no_other_one() {
    let mapping = mapping(TimeUnit::Ns);
    let told = told("m,sensor_id=s a=1,b=x,c=3,d=\"t\"", &mapping);
    assert_eq!(told.found.shown(), ["s a 1", "s c 3"]);
    assert_eq!(told.found.sentences().len(), 1);
    assert_eq!(told.ignored, ["d"]);
}

#[test]
fn too_many_lines_are_refused_whole() {
    let mapping = JsonMapping {
        max_items: 2,
        ..mapping(TimeUnit::Ns)
    };
    let told = told("m a=1\n# none\nm b=1\nm c=1", &mapping);
    assert_eq!(
        told.found.sentences(),
        ["0: `payload` has 3 lines, at most 2 are allowed"]
    );
}

#[test]
fn bytes_that_are_no_text_are_refused_in_their_line() {
    let mapping = mapping(TimeUnit::Ns);
    let mut told = Told::default();
    let payload = b"m,sensor_id=s a=1\nm,sensor_id=\xff a=1\nm,sensor_id=s a=2";
    decode(payload, Hints::default(), &mapping, &mut told);
    assert_eq!(told.found.sentences(), ["1: `line` is not UTF-8 from byte 12"]);
    assert_eq!(told.found.drafts.len(), 2);
}

/// A line as an encoder writes it that knows nothing of ours.
#[derive(Debug, Clone)]
struct Point {
    measurement: String,
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, Field>,
    time: Option<i64>,
}

#[derive(Debug, Clone)]
enum Field {
    Float(f64),
    Int(i64),
    Unsigned(u64),
    Bool(bool),
    Text(String),
}

impl Point {
    fn encode(&self) -> String {
        let key = |text: &str| text.replace(',', "\\,").replace('=', "\\=").replace(' ', "\\ ");
        let mut line = self.measurement.replace(',', "\\,").replace(' ', "\\ ");
        for (name, text) in &self.tags {
            line += &format!(",{}={}", key(name), key(text));
        }
        let field = |(name, field): (&String, &Field)| {
            let value = match field {
                Field::Float(value) => format!("{value:?}"),
                Field::Int(value) => format!("{value}i"),
                Field::Unsigned(value) => format!("{value}u"),
                Field::Bool(value) => value.to_string(),
                Field::Text(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            };
            format!("{}={value}", key(name))
        };
        let fields: Vec<String> = self.fields.iter().map(field).collect();
        line += &format!(" {}", fields.join(","));
        if let Some(time) = self.time {
            line += &format!(" {time}");
        }
        line
    }

    fn expected(&self) -> Vec<(String, f64, Option<Timestamp>)> {
        let value = |(name, field): (&String, &Field)| {
            let value = match field {
                Field::Float(value) => *value,
                Field::Int(value) => *value as f64,
                Field::Unsigned(value) => *value as f64,
                Field::Bool(value) => f64::from(u8::from(*value)),
                Field::Text(_) => return None,
            };
            let time = self.time.map(|time| Timestamp(time.div_euclid(1000)));
            Some((name.clone(), value, time))
        };
        self.fields.iter().filter_map(value).collect()
    }
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    // A backslash before what needs one cannot be written in line protocol, so names have none.
    let name = "[^\\p{Cc}\\\\#\" ][^\\p{Cc}\\\\]{0,8}";
    let field = prop_oneof![
        proptest::num::f64::NORMAL.prop_map(Field::Float),
        any::<i64>().prop_map(Field::Int),
        any::<u64>().prop_map(Field::Unsigned),
        any::<bool>().prop_map(Field::Bool),
        "[^\\p{Cc}]{0,10}(\n[^\\p{Cc}]{0,10})?".prop_map(Field::Text),
    ];
    let named = "[a-z]{1,4}".prop_filter("says nothing", |name| name != "value");
    let point = (
        name,
        proptest::collection::btree_map(name, name, 0..4),
        proptest::collection::btree_map(named, field, 1..5),
        proptest::option::of(any::<i64>()),
    )
        .prop_map(|(measurement, tags, fields, time)| Point {
            measurement,
            tags,
            fields,
            time,
        });
    proptest::collection::vec(point, 1..6)
}

proptest! {
    #[test]
    fn what_is_encoded_is_read(points in points()) {
        let encoded: Vec<String> = points.iter().map(Point::encode).collect();
        let payload = encoded.join("\n");
        let mapping = mapping(TimeUnit::Ns);
        let told = told(&payload, &mapping);
        let mut drafts = told.found.drafts.iter().peekable();
        for (index, point) in points.iter().enumerate() {
            let mut sensors = std::collections::BTreeSet::new();
            for (metric, value, time) in point.expected() {
                let draft = drafts.next().expect("a reading for each field");
                prop_assert_eq!((draft.item as usize, &*draft.metric, draft.time), (index, &*metric, time));
                prop_assert_eq!(draft.value.to_bits(), value.to_bits());
                let tags = draft.tags.as_ref().map(RawTags::parse).unwrap_or_default();
                let tags: BTreeMap<String, String> = tags.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(&tags, &point.tags);
                sensors.insert(draft.sensor.to_string());
            }
            prop_assert!(sensors.len() <= 1);
            if point.expected().is_empty() {
                let refused = told.found.refusals.iter().filter(|refusal| refusal.item as usize == index);
                prop_assert_eq!(refused.count(), 1);
            }
        }
        prop_assert!(drafts.next().is_none());
        prop_assert_eq!(Lines::of(payload.as_bytes()).count(), points.len());
    }

    #[test]
    fn any_bytes_are_answered_line_by_line(payload in proptest::collection::vec(
        prop_oneof![any::<u8>(), proptest::sample::select(b"m,=\\\" \n1at#".to_vec())], 0..200)) {
        let mapping = mapping(TimeUnit::Ns);
        let mut told = Told::default();
        decode(&payload, Hints::default(), &mapping, &mut told);
        let mut answered = std::collections::BTreeSet::new();
        for draft in &told.found.drafts {
            prop_assert!(draft.value.is_finite() && SensorId::check(&draft.sensor).is_ok());
            prop_assert!(MetricName::check(&draft.metric).is_ok());
            answered.insert(draft.item);
        }
        answered.extend(told.found.refusals.iter().map(|refusal| refusal.item));
        prop_assert_eq!(answered.len(), Lines::of(&payload).count());
    }

    #[test]
    fn parts_are_the_whole(points in points(), readings in 1usize..8, bytes in 1usize..200) {
        let encoded: Vec<String> = points.iter().map(Point::encode).collect();
        let payload = encoded.join("\n#\n");
        let mapping = mapping(TimeUnit::Ns);
        let whole: Vec<&[u8]> = Lines::of(payload.as_bytes()).collect();
        let parts: Vec<&[u8]> = line_parts(payload.as_bytes(), readings, bytes).collect();
        let lines: Vec<&[u8]> = parts.iter().flat_map(|part| Lines::of(part)).collect();
        prop_assert_eq!(&whole, &lines);
        for part in parts {
            let mut told = Told::default();
            decode(part, Hints::default(), &mapping, &mut told);
            let one = Lines::of(part).count() == 1;
            prop_assert!(one || told.found.drafts.len() + told.found.refusals.len() <= readings);
            prop_assert!(one || part.len() <= bytes);
        }
    }
}
