//! The examples of docs/payloads.md, as they are written there.

use super::*;

/// The text between ```` ```kind ```` fences, in order.
fn blocks(kind: &str) -> Vec<&'static str> {
    let fence = format!("```{kind}\n");
    let page: &'static str = include_str!("../../docs/payloads.md");
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
        decode_json(payload.as_bytes(), Hints::default(), &mapping, &mut found);
        assert_eq!(found.sentences(), Vec::<String>::new(), "{payload}");
        assert_eq!(found.shown(), expected.lines().collect::<Vec<_>>(), "{payload}");
    }
}

#[test]
fn the_first_example_has_unit_quality_and_tags_and_borrows_all_of_it() {
    let mapping = strict();
    let mut found = Found::default();
    decode_json(
        blocks("json")[0].as_bytes(),
        Hints::default(),
        &mapping,
        &mut found,
    );
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
