//! The registry keeps its promises: numbers, limits, definitions.

use super::*;

fn registry() -> Registry {
    Registry::new(
        RegistryLimits {
            sensors: 2,
            series_per_sensor: 2,
        },
        4,
        Vec::new(),
        Vec::new(),
    )
}

fn id(name: &str) -> SensorId {
    SensorId::parse(name).unwrap()
}

fn metric(name: &str) -> MetricName {
    MetricName::parse(name).unwrap()
}

fn lookup(
    registry: &Registry,
    sensor: &str,
    metric: &str,
    unit: Option<&str>,
    tags: Option<&RawTags<'_>>,
) -> Option<Resolved> {
    let reader = registry.reader();
    let guess = reader.guess([sensor].into_iter())[0];
    reader.lookup(guess, sensor, metric, unit, tags)
}

#[test]
fn a_name_keeps_its_numbers() {
    let registry = registry();
    let first = registry.resolve(&id("a"), &metric("t"), None, None).unwrap();
    assert_eq!(lookup(&registry, "a", "t", None, None), Some(first));
    assert_eq!(lookup(&registry, "a", "u", None, None), None);
    assert_eq!(registry.resolve(&id("a"), &metric("t"), None, None), Ok(first));
    let other = registry.resolve(&id("a"), &metric("u"), None, None).unwrap();
    assert_eq!((other.sensor, other.shard), (first.sensor, first.shard));
    assert_ne!(other.series, first.series);
}

#[test]
fn limits_refuse_only_what_is_new() {
    let registry = registry();
    for name in ["a", "b"] {
        registry.resolve(&id(name), &metric("t"), None, None).unwrap();
    }
    assert_eq!(
        registry.resolve(&id("c"), &metric("t"), None, None),
        Err(LimitReached::Sensors(2))
    );
    registry.resolve(&id("a"), &metric("u"), None, None).unwrap();
    let third = registry.resolve(&id("a"), &metric("v"), None, None);
    assert_eq!(third, Err(LimitReached::SeriesPerSensor(2)));
    assert!(registry.resolve(&id("b"), &metric("t"), None, None).is_ok());
}

#[test]
fn a_definition_is_saved_when_that_very_one_has_committed() {
    let registry = registry();
    let series = registry
        .resolve(&id("a"), &metric("t"), Some("C"), None)
        .unwrap()
        .series;
    let (sensor, old) = registry.define(series).unwrap();
    registry.resolve(&id("a"), &metric("t"), Some("F"), None).unwrap();
    registry.mark_saved(&[sensor], &[old]);
    assert!(!lookup(&registry, "a", "t", None, None).unwrap().saved);
    let (sensor, new) = registry.define(series).unwrap();
    assert_eq!(new.unit.as_deref(), Some("F"));
    registry.mark_saved(&[sensor], &[new]);
    assert!(lookup(&registry, "a", "t", Some("F"), None).unwrap().saved);
}

#[test]
fn news_about_tags_is_no_mere_lookup() {
    let registry = registry();
    let raw = serde_json::value::RawValue::from_string(r#"{"site":"a"}"#.into()).unwrap();
    let tags = RawTags::check(&raw).unwrap();
    registry.resolve(&id("a"), &metric("t"), None, None).unwrap();
    assert_eq!(lookup(&registry, "a", "t", None, Some(&tags)), None);
    registry
        .resolve(&id("a"), &metric("t"), None, Some(&tags))
        .unwrap();
    assert!(lookup(&registry, "a", "t", None, Some(&tags)).is_some());
    assert_eq!(
        registry.sensor_named("a").unwrap().tags,
        Tags::from([("site".into(), "a".into())])
    );
}

#[test]
fn what_was_stored_comes_back_with_its_numbers() {
    let first = registry();
    let resolved = first.resolve(&id("a"), &metric("t"), Some("C"), None).unwrap();
    let (sensor, series) = first.define(resolved.series).unwrap();
    let limits = RegistryLimits {
        sensors: 2,
        series_per_sensor: 2,
    };
    let again = Registry::new(limits, 4, vec![sensor], vec![series]);
    assert_eq!(
        lookup(&again, "a", "t", Some("C"), None),
        Some(Resolved {
            saved: true,
            sensor_saved: true,
            ..resolved
        })
    );
    let new = again.resolve(&id("b"), &metric("t"), None, None).unwrap();
    assert_ne!((new.sensor, new.series), (resolved.sensor, resolved.series));
}

#[test]
fn the_shard_depends_on_the_id_alone() {
    assert_eq!(shard_of("boiler-7", 4), shard_of("boiler-7", 4));
    let mut hit = [false; 4];
    (0..100).for_each(|i| hit[usize::from(shard_of(&format!("s{i}"), 4))] = true);
    assert_eq!(hit, [true; 4]);
}

#[test]
fn a_guess_helps_and_a_wrong_one_does_no_harm() {
    let registry = registry();
    let resolve = |name| registry.resolve(&id(name), &metric("t"), None, None).unwrap();
    let (a, b) = (resolve("a"), resolve("b"));
    let reader = registry.reader();
    let guesses = reader.guess(["b", "a"].into_iter());
    assert_eq!(reader.lookup(guesses[0], "b", "t", None, None), Some(b));
    assert_eq!(reader.lookup(guesses[1], "a", "t", None, None), Some(a));
    assert_eq!(reader.lookup(guesses[0], "a", "t", None, None), Some(a));
    assert_eq!(reader.lookup(Guess(Some(b.sensor)), "c", "t", None, None), None);
    assert_eq!(
        reader.lookup(Guess(Some(SensorKey(999))), "b", "t", None, None),
        Some(b)
    );
}
