//! The examples of docs/payloads.md, as they are written there.

use sensorhive::decode::{Format, TimeUnit};
use sensorhive::settings::{MappingSettings, PayloadSettings};

use super::*;

/// The text between ```` ```kind ```` fences, in order, with what kind it is.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let page: &'static str = include_str!("../../docs/payloads.md");
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, from)) = rest.split_once("```") {
        let (block, after) = from.split_once("```").expect("a fence is closed");
        blocks.push(block.split_once('\n').expect("a fence has a line of its own"));
        rest = after;
    }
    blocks
}

/// What a source would have of it.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    default_sensor: Option<SensorId>,
    mapping: Option<MappingSettings>,
}

#[test]
fn every_example_gives_what_is_written_under_it() {
    let (mut source, mut topic, mut payload, mut examples) = (Source::default(), None, None, 0);
    for (kind, text) in blocks() {
        match kind {
            "toml" => source = toml::from_str(text).unwrap(),
            "topic" => topic = Some(text.trim_end().split_once(" <- ").unwrap()),
            "json" => payload = Some((Format::Json, text)),
            "lines" => payload = Some((Format::Lines(TimeUnit::Ns), text)),
            "text" => {
                let pattern = topic.map(|(pattern, _)| TopicPattern::parse(pattern).unwrap());
                let settings = PayloadSettings {
                    default_sensor: source.default_sensor.as_ref(),
                    mapping: source.mapping.as_ref(),
                    topics: pattern.as_slice(),
                    ..PayloadSettings::default()
                };
                let (format, payload) = payload.take().unwrap();
                let mapping = JsonMapping {
                    format,
                    ..settings.json(10_000)
                };
                let hints = mapping.hints(topic.map_or("", |(_, topic)| topic));
                let (readings, refusals) = decoded_as(payload, hints, &mapping);
                assert_eq!(refusals, Vec::<String>::new(), "{text}");
                assert_eq!(readings, text.lines().collect::<Vec<_>>());
                (source, topic, examples) = (Source::default(), None, examples + 1);
            }
            other => panic!("what is {other}?"),
        }
    }
    assert!(examples >= 10 && payload.is_none());
}

#[test]
fn the_first_example_has_unit_quality_and_tags_and_borrows_all_of_it() {
    let mapping = strict();
    let mut found = Found::default();
    decode_json(blocks()[0].1.as_bytes(), Hints::default(), &mapping, &mut found);
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
    let tags = draft.tags.as_ref().unwrap();
    assert_eq!(tags.as_str(), r#"{"site":"a","floor":3}"#);
    let expected = [("floor", "3"), ("site", "a")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(tags.parse(), BTreeMap::from(expected));
}
