//! Topic patterns against MQTT's own rules.

use super::*;

fn pattern(text: &str) -> TopicPattern {
    TopicPattern::parse(text).unwrap_or_else(|error| panic!("{text} {error}"))
}

fn hints<'t>(text: &str, topic: &'t str) -> Option<(Option<&'t str>, Option<&'t str>)> {
    let hints = pattern(text).matches(topic)?;
    Some((hints.sensor, hints.metric))
}

#[test]
fn a_pattern_says_what_to_subscribe_to() {
    for (text, filter) in [
        ("plant/+sensor_id/+metric", "plant/+/+"),
        ("$share/hive/plant/+sensor_id/#", "$share/hive/plant/+/#"),
        ("#", "#"),
        ("+sensor_id", "+"),
        ("/", "/"),
        ("a//+metric", "a//+"),
        ("$SYS/broker/+metric", "$SYS/broker/+"),
        ("$share", "$share"),
    ] {
        assert_eq!(pattern(text).filter(), filter);
        assert_eq!(pattern(text).as_str(), text);
    }
}

#[test]
fn named_levels_are_taken_from_the_topic() {
    let whole = "plant/+sensor_id/+metric";
    assert_eq!(
        hints(whole, "plant/s1/temperature"),
        Some((Some("s1"), Some("temperature")))
    );
    assert_eq!(hints(whole, "plant/s1"), None);
    assert_eq!(hints(whole, "plant/s1/temperature/raw"), None);
    assert_eq!(hints(whole, "Plant/s1/temperature"), None);
    assert_eq!(hints(whole, "plant//"), Some((Some(""), Some(""))));
    assert_eq!(
        hints("$share/g/+/+sensor_id/#", "a/s1/b/c"),
        Some((Some("s1"), None))
    );
    assert_eq!(hints("plant/#", "plant"), Some((None, None)));
    assert_eq!(hints("+metric/+sensor_id", "t/s"), Some((Some("s"), Some("t"))));
}

#[test]
fn the_topics_of_the_broker_itself_are_only_found_by_name() {
    for text in ["#", "+/load", "+sensor_id/load", "+/#", "$share/g/#"] {
        assert_eq!(hints(text, "$SYS/load"), None, "{text}");
    }
    assert!(hints("$SYS/#", "$SYS/load").is_some() && hints("$SYS/+", "$SYS/load").is_some());
    assert!(hints("a/#", "a/$SYS").is_some());
}

#[test]
fn the_first_pattern_that_matches_counts() {
    let mapping = JsonMapping {
        topics: vec![pattern("a/+sensor_id"), pattern("+metric/+")],
        ..strict()
    };
    assert_eq!(mapping.hints("a/s").sensor, Some("s"));
    assert_eq!(mapping.hints("b/s").metric, Some("b"));
    assert_eq!(mapping.hints("a/b/c"), Hints::default());
}

#[test]
fn what_is_no_pattern_is_refused_and_says_why() {
    for (text, says) in [
        ("", "is empty"),
        ("$share/g/", "is empty"),
        ("a\0b", "has a NUL character at byte 1"),
        ("a/#/b", "has `#` before its end"),
        ("a/b#", "has the level `b#`"),
        ("a+/b", "has the level `a+`"),
        ("a/+site", "has the level `+site`"),
        ("a/+\n", "has the level `+\\n`"),
        ("++", "has the level `++`"),
        ("+sensor_id/+sensor_id", "has `+sensor_id` twice"),
        ("+metric/a/+metric", "has `+metric` twice"),
        ("$share/g", "must be `$share/GROUP/FILTER`"),
        ("$share//a", "must be `$share/GROUP/FILTER`"),
        ("$share/+/a", "must be `$share/GROUP/FILTER`"),
        (&"a".repeat(65_536), "is 65536 bytes long"),
    ] {
        let error = TopicPattern::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(says), "{text:?}: {error}");
    }
    assert!(TopicPattern::parse(&"a".repeat(65_535)).is_ok());
}

/// MQTT 4.7, word by word: from the levels of the filter to those of the topic, by recursion.
fn broker_sends(filter: &str, topic: &str) -> bool {
    fn rest(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            ([wanted, filter @ ..], [level, topic @ ..]) => {
                (*wanted == "+" || wanted == level) && rest(filter, topic)
            }
            _ => false,
        }
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let wild = ["+", "#"].contains(&filter[0]);
    !(wild && topic[0].starts_with('$')) && rest(&filter, &topic)
}

fn level() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["a", "b", "", "$SYS", "ä"])
}

fn filter_level() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["a", "b", "", "$SYS", "ä", "+", "+", "+sensor_id", "+metric"])
}

proptest! {
    #[test]
    fn patterns_match_what_a_broker_sends(
        levels in proptest::collection::vec(filter_level(), 0..5),
        open in any::<bool>(),
        share in any::<bool>(),
        topic in proptest::collection::vec(level(), 1..5),
    ) {
        let all: Vec<&str> = levels.iter().copied().chain(open.then_some("#")).collect();
        let (text, topic) = (all.join("/"), topic.join("/"));
        let once = |name| levels.iter().filter(|level| **level == name).count() <= 1;
        let valid = !text.is_empty() && once("+sensor_id") && once("+metric");
        let written = if share { format!("$share/g/{text}") } else { text.clone() };
        let parsed = TopicPattern::parse(&written);
        prop_assert_eq!(parsed.is_ok(), valid, "{}", written);
        prop_assume!(valid && !topic.is_empty());
        let parsed = parsed.unwrap();
        let filter = parsed.filter();
        let plain = if share { filter.strip_prefix("$share/g/").unwrap() } else { &filter };
        let found = parsed.matches(&topic);
        prop_assert_eq!(found.is_some(), broker_sends(plain, &topic), "{} {}", written, topic);
        if let Some(hints) = found {
            let given: Vec<&str> = topic.split('/').collect();
            let at = |name| levels.iter().position(|level| *level == name).map(|at| given[at]);
            prop_assert_eq!((hints.sensor, hints.metric), (at("+sensor_id"), at("+metric")));
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[ab+#/$\\x00]{0,12}", topic in "[ab+#/$]{0,12}") {
        if let Ok(pattern) = TopicPattern::parse(&text) {
            prop_assert!(!pattern.filter().is_empty() && !pattern.filter().contains('\0'));
            let _ = pattern.matches(&topic);
            let again = TopicPattern::parse(&pattern.filter()).unwrap();
            prop_assert_eq!(again.filter(), pattern.filter());
        }
    }
}
