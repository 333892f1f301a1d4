//! `[[rules]]`: what they come to, and what is wrong with them.

use std::time::Duration;

use sensorhive::core::{Condition, Levels, Limit, Limits, Subject, WindowNumber};
use sensorhive::domain::{DetectorKind, Level};
use sensorhive::settings::{RuleSettings, Settings};

use crate::{defaults, load, problems};

fn rule(settings: &Settings, name: &str) -> RuleSettings {
    let found = settings.rules.iter().find(|rule| rule.name == name);
    found.unwrap_or_else(|| panic!("no rule {name}")).clone()
}

#[test]
fn the_built_in_rules_watch_this_machine_and_the_service() {
    let settings = defaults();
    let names: Vec<_> = settings.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "host cpu",
            "host memory",
            "host disk",
            "processing latency",
            "error rate"
        ]
    );
    let Condition::Limits(limits) = rule(&settings, "host cpu").spec().condition else {
        panic!("not of limits")
    };
    assert_eq!(
        limits.above,
        Some(Limit {
            at: 80.0,
            clear: 75.0
        })
    );
}

#[test]
fn a_rule_says_what_the_core_judges_by() {
    let settings = load(
        "[[rules]]
         name = 'too hot'
         match = { metric = 'temperature' }
         condition = { above = 80.0, clear_below = 75.0, for = '2m', keep_firing_for = '30s' }
         level = { warning = 1.0, error = 1.2, critical = 1.5 }
         runbook = 'https://wiki.example.org/boilers'
         no_data = '10m'
         [[rules]]
         name = 'steep'
         condition = { rate = '1m', above = 5, below = -5 }
         level = 'error'
         [[rules]]
         name = 'mean'
         condition = { window = { size = '10s', aggregate = 'mean' }, below = 3 }
         [[rules]]
         name = 'jumps'
         condition = { detector = 'jump' }
         [[rules]]
         name = 'quiet'
         condition = { silence = '5m' }
         level = 'critical'",
    )
    .unwrap();
    let names: Vec<_> = settings
        .rules
        .iter()
        .take(6)
        .map(|rule| rule.name.as_str())
        .collect();
    assert_eq!(names, ["too hot", "steep", "mean", "jumps", "quiet", "host cpu"]);

    let hot = rule(&settings, "too hot").spec();
    assert_eq!(
        (hot.hold, hot.keep, hot.no_data),
        (120_000_000, 30_000_000, Some(600_000_000))
    );
    let ratios = vec![(Level::Warning, 1.0), (Level::Error, 1.2), (Level::Critical, 1.5)];
    assert_eq!(hot.levels, Levels::Ratios(ratios));
    let limit = |at, clear| Some(Limit { at, clear });
    assert_eq!(
        rule(&settings, "steep").spec().condition,
        Condition::Limits(Limits {
            subject: Subject::Rate { per: 60_000_000 },
            above: limit(5.0, 5.0),
            below: limit(-5.0, -5.0),
        })
    );
    assert_eq!(
        rule(&settings, "mean").spec().condition,
        Condition::Limits(Limits {
            subject: Subject::Window {
                size: 10_000_000,
                aggregate: WindowNumber::Mean,
            },
            above: None,
            below: limit(3.0, 3.0),
        })
    );
    let jumps = rule(&settings, "jumps").spec();
    assert_eq!(jumps.condition, Condition::Detector(DetectorKind::Jump));
    assert_eq!((jumps.levels, jumps.keep), (Levels::Found, 300_000_000));
    let quiet = rule(&settings, "quiet").spec();
    assert_eq!(quiet.condition, Condition::Silence { after: 300_000_000 });
    assert_eq!(quiet.levels, Levels::One(Level::Critical));
    assert_eq!(
        rule(&settings, "quiet").condition.silence,
        Some(Duration::from_secs(300))
    );

    let again = load(&settings.to_toml().unwrap()).unwrap();
    assert_eq!(again.rules[..10], settings.rules);
}

#[test]
fn every_mistake_is_told_with_its_key() {
    let found = problems(load(
        "[[rules]]
         name = ''
         condition = { above = 80.0, clear_below = 85.0, detector = 'jump' }
         level = { warning = 1.5, error = 1.2 }
         runbook = 'javascript:alert(1)'
         [[rules]]
         name = 'b'
         condition = { silence = '5m', for = '1m', window = { size = '1m', aggregate = 'mean' } }
         level = { warning = 1.0 }
         no_data = '1m'
         [[rules]]
         name = 'c'
         condition = { below = 5.0, above = 1.0, rate = '0s', window = { size = '1m', aggregate = 'max' }, clear_above = 4.0 }
         level = { warning = 0.5 }
         no_data = '0s'
         [[rules]]
         name = 'd'
         condition = {}
         level = { warning = 1.0 }
         [[rules]]
         name = 'e'
         condition = { above = 1.0, rate = '0s' }
         level = {}",
    ));
    let expected = [
        "rules[0].condition must have either `above` and/or `below`, or `detector`, or `silence`",
        "rules[0].condition.clear_below must not be more than `above`",
        "rules[0].level must have a greater ratio for a graver level",
        "rules[0].name must be 1 to 128 bytes without control characters",
        "rules[0].runbook must be a link such as \"https://wiki.example.org/boilers\"",
        "rules[1].condition.for is only for a rule with `above` or `below`",
        "rules[1].condition.window is only for a rule with `above` or `below`",
        "rules[1].level by ratio is only for a rule with `above` or `below`",
        "rules[1].no_data is what `silence` says already",
        "rules[2].condition.below must not be more than `above`: every value would be an alert",
        "rules[2].condition.clear_above must not be less than `below`",
        "rules[2].condition.rate and `window` do not go together",
        "rules[2].level must have ratios of 1.0 and more: below the limit there is no alert",
        "rules[2].no_data must be more than 0",
        "rules[3].condition must have either `above` and/or `below`, or `detector`, or `silence`",
        "rules[3].level by ratio is only for a rule with `above` or `below`",
        "rules[4].condition.rate must be more than 0",
        "rules[4].level needs at least one level",
    ];
    assert_eq!(found, expected);
}

#[test]
fn words_that_are_none_are_told_too() {
    let found = problems(load(
        "[[rules]]
         name = 'a'
         condition = { above = 'hot', detector = 'smell', until = 3 }
         level = 'grave'
         colour = 'red'
         [[rules]]
         name = 'b'
         condition = { above = 1.0 }
         level = 7",
    ));
    let keys: Vec<_> = found
        .iter()
        .map(|problem| problem.split(' ').next().unwrap())
        .collect();
    let expected = [
        "rules[0].colour",
        "rules[0].condition.above",
        "rules[0].condition.detector",
        "rules[0].condition.until",
        "rules[0].level",
        "rules[1].level",
    ];
    assert_eq!(keys, expected, "{found:#?}");
}
