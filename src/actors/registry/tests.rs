//! The registry keeps its promises: numbers, limits, definitions.

use super::*;
use crate::domain::Home;
use crate::storage::Scope;

const LIMITS: RegistryLimits = RegistryLimits {
    sensors: 2,
    series_per_sensor: 2,
};

fn registry() -> Registry {
    with_numbers(Registry::new(LIMITS, 4, Vec::new(), Vec::new()), 1)
}

fn with_numbers(registry: Registry, first: u32) -> Registry {
    registry.add_numbers(Numbers {
        sensors: first..first + 100,
        series: first..first + 100,
    });
    registry
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
    reader.lookup(guess, sensor, metric, unit, tags, HomeId::NONE)
}

#[test]
fn a_name_keeps_its_numbers() {
    let registry = registry();
    let first = registry
        .resolve(&id("a"), &metric("t"), None, None, HomeId::NONE)
        .unwrap();
    assert_eq!(lookup(&registry, "a", "t", None, None), Some(first));
    assert_eq!(lookup(&registry, "a", "u", None, None), None);
    assert_eq!(
        registry.resolve(&id("a"), &metric("t"), None, None, HomeId::NONE),
        Ok(first)
    );
    let other = registry
        .resolve(&id("a"), &metric("u"), None, None, HomeId::NONE)
        .unwrap();
    assert_eq!((other.sensor, other.shard), (first.sensor, first.shard));
    assert_ne!(other.series, first.series);
}

#[test]
fn limits_refuse_only_what_is_new() {
    let registry = registry();
    for name in ["a", "b"] {
        registry
            .resolve(&id(name), &metric("t"), None, None, HomeId::NONE)
            .unwrap();
    }
    assert_eq!(
        registry.resolve(&id("c"), &metric("t"), None, None, HomeId::NONE),
        Err(Unresolved::TooManySensors(2))
    );
    registry
        .resolve(&id("a"), &metric("u"), None, None, HomeId::NONE)
        .unwrap();
    let third = registry.resolve(&id("a"), &metric("v"), None, None, HomeId::NONE);
    assert_eq!(third, Err(Unresolved::TooManySeries(2)));
    assert!(
        registry
            .resolve(&id("b"), &metric("t"), None, None, HomeId::NONE)
            .is_ok()
    );
}

#[test]
fn a_definition_is_saved_when_that_very_one_has_committed() {
    let registry = registry();
    let series = registry
        .resolve(&id("a"), &metric("t"), Some("C"), None, HomeId::NONE)
        .unwrap()
        .series;
    let (sensor, old) = registry.define(series).unwrap();
    registry
        .resolve(&id("a"), &metric("t"), Some("F"), None, HomeId::NONE)
        .unwrap();
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
    registry
        .resolve(&id("a"), &metric("t"), None, None, HomeId::NONE)
        .unwrap();
    assert_eq!(lookup(&registry, "a", "t", None, Some(&tags)), None);
    registry
        .resolve(&id("a"), &metric("t"), None, Some(&tags), HomeId::NONE)
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
    let resolved = first
        .resolve(&id("a"), &metric("t"), Some("C"), None, HomeId::NONE)
        .unwrap();
    let (sensor, series) = first.define(resolved.series).unwrap();
    let again = with_numbers(Registry::new(LIMITS, 4, vec![sensor], vec![series]), 200);
    assert_eq!(
        lookup(&again, "a", "t", Some("C"), None),
        Some(Resolved {
            saved: true,
            sensor_saved: true,
            ..resolved
        })
    );
    let new = again
        .resolve(&id("b"), &metric("t"), None, None, HomeId::NONE)
        .unwrap();
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
    let resolve = |name| {
        registry
            .resolve(&id(name), &metric("t"), None, None, HomeId::NONE)
            .unwrap()
    };
    let (a, b) = (resolve("a"), resolve("b"));
    let reader = registry.reader();
    let guesses = reader.guess(["b", "a"].into_iter());
    assert_eq!(
        reader.lookup(guesses[0], "b", "t", None, None, HomeId::NONE),
        Some(b)
    );
    assert_eq!(
        reader.lookup(guesses[1], "a", "t", None, None, HomeId::NONE),
        Some(a)
    );
    assert_eq!(
        reader.lookup(guesses[0], "a", "t", None, None, HomeId::NONE),
        Some(a)
    );
    assert_eq!(
        reader.lookup(guesses[0], "c", "t", None, None, HomeId::NONE),
        None
    );
    assert_eq!(
        reader.lookup(Guess(Some(999)), "b", "t", None, None, HomeId::NONE),
        Some(b)
    );
}

fn sensor(key: u32, name: &str, home: Option<Home>) -> SensorDefinition {
    SensorDefinition {
        key: SensorKey(key),
        id: id(name),
        tags: Tags::new(),
        home,
    }
}

fn series(number: u32, sensor: u32, name: &str) -> SeriesDefinition {
    SeriesDefinition {
        id: SeriesId(number),
        sensor: SensorKey(sensor),
        metric: metric(name),
        unit: None,
    }
}

#[test]
fn what_others_made_of_the_same_names_replaces_what_is_not_stored() {
    let registry = registry();
    let ours = registry
        .resolve(&id("a"), &metric("t"), None, None, HomeId::NONE)
        .unwrap();
    registry
        .resolve(&id("b"), &metric("t"), None, None, HomeId::NONE)
        .unwrap();
    let Scope::Named(provisional) = registry.provisional() else {
        panic!("they have names")
    };
    assert_eq!(provisional.len(), 2);
    assert_eq!(
        registry.refresh(vec![sensor(900, "a", None)], vec![series(901, 900, "t")]),
        1
    );
    let theirs = lookup(&registry, "a", "t", None, None).unwrap();
    assert_eq!((theirs.sensor, theirs.series), (SensorKey(900), SeriesId(901)));
    assert!(theirs.saved && theirs.shard == ours.shard);
    assert_eq!(registry.define(ours.series), None, "it is nobody's now");
    assert_eq!(registry.sensor(ours.sensor), None);
    assert_eq!(
        registry.strangers([ours.sensor, theirs.sensor].into_iter()),
        [ours.sensor]
    );
    let keys: Vec<SensorKey> = registry
        .list(None, 9, |_, _| true)
        .iter()
        .map(|info| info.key)
        .collect();
    assert_eq!((keys.len(), keys.contains(&SensorKey(900))), (2, true));
    // A batch with our number has failed; one that was on its way all the same changes nothing.
    registry.mark_saved(
        &[sensor(ours.sensor.0, "a", None)],
        &[series(ours.series.0, ours.sensor.0, "t")],
    );
    assert_eq!(lookup(&registry, "a", "t", None, None), Some(theirs));

    // Of a stored sensor a single series may be provisional.
    let ours = registry
        .resolve(&id("a"), &metric("u"), None, None, HomeId::NONE)
        .unwrap();
    assert!(!ours.saved && ours.sensor_saved);
    registry.refresh(
        vec![sensor(900, "a", None)],
        vec![series(901, 900, "t"), series(950, 900, "u")],
    );
    assert_eq!(
        lookup(&registry, "a", "u", None, None).unwrap().series,
        SeriesId(950)
    );
    assert_eq!(registry.sensor_of(ours.series), None);
    assert_eq!(registry.stored_size(), (1, 2));
    assert_eq!(registry.size(), (2, 3));
}

#[test]
fn without_numbers_what_is_new_has_to_wait() {
    let registry = Registry::new(LIMITS, 1, vec![sensor(1, "a", None)], vec![series(1, 1, "t")]);
    assert!(lookup(&registry, "a", "t", None, None).is_some());
    for new in [("a", "u"), ("b", "t")] {
        let unresolved = registry.resolve(&id(new.0), &metric(new.1), None, None, HomeId::NONE);
        assert_eq!(unresolved, Err(Unresolved::NoNumbers));
    }
    assert_eq!(registry.size(), (1, 1));
    let registry = with_numbers(registry, 50);
    assert!(
        registry
            .resolve(&id("b"), &metric("t"), None, None, HomeId::NONE)
            .is_ok()
    );
}

#[test]
fn a_sensor_keeps_its_home_until_it_comes_through_another() {
    let registry = registry();
    let source = crate::domain::SourceName::parse("s").unwrap();
    let homes = ["0", "1"].map(|partition| Home::partition(&source, partition));
    let [first, second] = homes.each_ref().map(|home| registry.home(home));
    let home_of = |series| registry.define(series).unwrap().0.home;
    let through = |home| {
        registry
            .resolve(&id("a"), &metric("t"), None, None, home)
            .unwrap()
            .series
    };
    let known = |home| {
        let reader = registry.reader();
        let guess = reader.guess(["a"].into_iter())[0];
        reader.lookup(guess, "a", "t", None, None, home).is_some()
    };
    let series = through(HomeId::NONE);
    assert_eq!((home_of(series), known(first)), (None, false));
    through(first);
    assert_eq!(home_of(series), Some(homes[0].clone()));
    assert!(known(first) && known(HomeId::NONE) && !known(second));
    through(second);
    assert_eq!(home_of(series), Some(Home::several()));
    assert!(known(first) && known(second));
}

#[test]
fn ours_is_what_we_own_or_everything() {
    let source = crate::domain::SourceName::parse("s").unwrap();
    let homes = ["0", "1"].map(|partition| Home::partition(&source, partition));
    let sensors = vec![
        sensor(1, "a", Some(homes[0].clone())),
        sensor(2, "b", Some(homes[1].clone())),
        sensor(3, "c", None),
        sensor(4, "d", Some(Home::several())),
    ];
    let registry = Registry::new(LIMITS, 1, sensors, vec![series(1, 1, "t")]);
    let ours = || {
        (1..6)
            .filter(|key| registry.is_ours(SensorKey(*key)))
            .collect::<Vec<u32>>()
    };
    assert_eq!((ours(), registry.ours()), (vec![1, 2, 3, 4, 5], Scope::All));
    registry.share();
    let first = registry.home(&homes[0]);
    assert_eq!(ours(), [4], "what comes through several is everybody's");
    registry.own(&[first]);
    assert_eq!(
        (ours(), registry.ours()),
        (vec![1, 4], Scope::Homes(vec![homes[0].clone()]))
    );
    assert_eq!(registry.series_of(&[first]), [(0, SeriesId(1))]);
    // What was seen to be taken has come back since.
    let before: Vec<Tenure> = registry.tenures().into_iter().map(|(_, tenure)| tenure).collect();
    registry.disown(&[first]);
    assert_eq!(ours(), [4]);
    registry.own(&[first]);
    registry.end(&before);
    assert_eq!(ours(), [1, 4]);
    let now: Vec<Tenure> = registry.tenures().into_iter().map(|(_, tenure)| tenure).collect();
    registry.end(&now);
    assert_eq!(ours(), [4]);
}

#[test]
fn the_version_moves_with_what_questions_depend_on_and_with_nothing_else() {
    let registry = registry();
    let moved = |what: &dyn Fn()| {
        let before = registry.version();
        what();
        registry.version() > before
    };
    let resolve = |name: &str, unit: Option<&str>, tags: &str, home| {
        let raw = serde_json::value::RawValue::from_string(tags.to_owned()).unwrap();
        let tags = RawTags::check(&raw).unwrap();
        let resolved = registry.resolve(&id("a"), &metric(name), unit, Some(&tags), home);
        resolved.unwrap();
    };
    let source = crate::domain::SourceName::parse("s").unwrap();
    let home = Home::partition(&source, "0");
    let number = registry.home(&home);
    assert!(moved(&|| resolve("t", None, "{}", HomeId::NONE)));
    assert!(!moved(&|| resolve("t", None, "{}", number)), "a home");
    assert!(moved(&|| resolve("t", Some("C"), "{}", number)), "a unit");
    assert!(moved(&|| resolve("t", None, r#"{"k":"v"}"#, number)), "tags");
    assert!(!moved(&|| resolve("t", Some("C"), r#"{ "k": "v" }"#, number)));

    let stored = |key, tags: &[(&str, &str)]| SensorDefinition {
        tags: tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        ..sensor(key, "a", Some(home.clone()))
    };
    let unit = |number, name, unit: &str| SeriesDefinition {
        unit: Some(unit.to_owned()),
        ..series(number, 900, name)
    };
    let refresh = |sensor: SensorDefinition, series: &[SeriesDefinition]| {
        registry.refresh(vec![sensor], series.to_vec());
    };
    let (ours, theirs) = ([("k", "v")], [("k", "w")]);
    assert!(
        moved(&|| refresh(stored(900, &ours), &[unit(901, "t", "C")])),
        "numbers"
    );
    assert!(!moved(&|| refresh(stored(900, &ours), &[unit(901, "t", "C")])));
    assert!(moved(&|| refresh(stored(900, &theirs), &[])), "their tags");
    assert!(
        moved(&|| refresh(stored(900, &theirs), &[series(902, 900, "u")])),
        "their series"
    );
    assert!(
        moved(&|| refresh(stored(900, &theirs), &[unit(902, "u", "K")])),
        "their unit"
    );
    assert!(
        moved(&|| {
            registry.refresh(vec![sensor(903, "b", None)], Vec::new());
        }),
        "their sensor"
    );
    let (sensor, series) = registry.define(SeriesId(901)).unwrap();
    let (sensors, series) = ([sensor], [series]);
    assert!(!moved(&|| registry.mark_saved(&sensors, &series)));
}

#[test]
fn the_version_moves_where_a_series_of_a_stored_sensor_gets_another_number() {
    let registry = with_numbers(
        Registry::new(LIMITS, 1, vec![sensor(1, "a", None)], Vec::new()),
        50,
    );
    registry
        .resolve(&id("a"), &metric("t"), None, None, HomeId::NONE)
        .unwrap();
    let before = registry.version();
    assert_eq!(
        registry.refresh(vec![sensor(1, "a", None)], vec![series(9, 1, "t")]),
        1
    );
    assert!(registry.version() > before);
}
