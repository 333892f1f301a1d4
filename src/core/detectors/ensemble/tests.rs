use super::super::tests::seen;
use super::features::{FEATURES, Feature};
use super::*;
use crate::domain::Level;

const MINUTE: i64 = 60_000_000;

/// Values of a quiet series: a daily wave with some noise.
fn quiet(reading: i64) -> f64 {
    let turns = reading as f64 / 1_440.0;
    let noise = (reading * 7_919 % 101) as f64 / 100.0 - 0.5;
    20.0 + 2.0 * (std::f64::consts::TAU * turns).sin() + 0.2 * noise
}

fn findings(values: impl IntoIterator<Item = f64>) -> Vec<(i64, Anomaly)> {
    let mut ensemble = Ensemble::new();
    let mut found = Vec::new();
    for (at, value) in (0..).zip(values) {
        found.extend(
            ensemble
                .observe(&seen(at * MINUTE, value))
                .map(|anomaly| (at, anomaly)),
        );
        assert!(ensemble.is_sound(), "after reading {at}");
    }
    found
}

#[test]
fn a_quiet_series_stays_quiet_and_a_spike_is_found_at_once() {
    let mut values: Vec<f64> = (0..10_000).map(quiet).collect();
    assert_eq!(findings(values.clone()), []);
    values[7_000] += 15.0;
    let found = findings(values);
    assert_eq!(found[0].0, 7_000);
    assert_eq!(found[0].1.detector, crate::domain::DetectorKind::Ensemble);
    assert_eq!(found[0].1.level, Level::Critical);
    assert!(
        found[0].1.explanation.contains("unusually"),
        "{}",
        found[0].1.explanation
    );
    assert!(found[0].1.score >= THRESHOLD);
}

#[test]
fn a_shift_of_the_level_a_burst_of_noise_and_a_drift_are_found() {
    let shift = findings((0..8_000).map(|at| quiet(at) + if at >= 6_000 { 5.0 } else { 0.0 }));
    assert!((6_000..6_010).contains(&shift[0].0), "{shift:?}");
    let burst = findings((0..8_000).map(|at| {
        let wild = if (6_000..6_060).contains(&at) { 3.0 } else { 0.0 };
        quiet(at) + if at % 2 == 0 { wild } else { -wild }
    }));
    assert!((6_000..6_020).contains(&burst[0].0), "{burst:?}");
    let drift = findings((0..8_000).map(|at| quiet(at) + 0.05 * (at - 6_000).max(0) as f64));
    assert!((6_000..6_240).contains(&drift[0].0), "{drift:?}");
}

#[test]
fn nothing_is_found_before_there_is_something_to_compare_with() {
    let warm_up = i64::from(TUNING.warm_up);
    let found = findings((0..400).map(|at| if at % 50 == 49 { 1e3 } else { 1.0 }));
    assert!(found.iter().all(|(at, _)| *at >= warm_up), "{found:?}");
}

#[test]
fn after_a_finding_there_is_a_rest() {
    let spikes = |at: i64| {
        if at >= 5_000 && at % 10 == 0 {
            100.0 * at as f64
        } else {
            quiet(at)
        }
    };
    let found = findings((0..6_000).map(spikes));
    assert!(found.len() > 1);
    assert!(
        found
            .windows(2)
            .all(|pair| pair[1].0 - pair[0].0 >= i64::from(TUNING.rest)),
        "{found:?}"
    );
}

#[test]
fn a_constant_series_is_no_finding_but_its_first_change_is() {
    let mut values = vec![5.0; 3_000];
    assert_eq!(findings(values.clone()), []);
    values[2_500] = 5.5;
    assert_eq!(findings(values)[0].0, 2_500);
}

#[test]
fn readings_out_of_order_change_nothing() {
    let mut ensemble = Ensemble::new();
    for at in 0..500 {
        ensemble.observe(&seen(at * MINUTE, quiet(at)));
    }
    let before = ensemble.clone();
    let late = Seen {
        newest: false,
        ..seen(MINUTE, 1e9)
    };
    assert_eq!(ensemble.observe(&late), None);
    assert_eq!(ensemble, before);
}

#[test]
fn the_scorer_says_the_same_as_the_detector() {
    let values = |at: i64| quiet(at) + if at % 1_777 == 0 { 30.0 } else { 0.0 };
    let found: Vec<i64> = findings((0..8_000).map(values))
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    let mut scorer = Scorer::new();
    let scores = (0..8_000).map(|at| (at, scorer.score(Timestamp(at * MINUTE), values(at))));
    let labels: Vec<i64> = scores
        .filter(|(_, score)| *score >= THRESHOLD)
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty());
    assert_eq!(labels, found);
    assert_eq!(scorer.score(Timestamp(0), f64::NAN), 0.0);
}

#[test]
fn readings_of_a_second_need_rarer_evidence_than_those_of_an_hour() {
    let needed = |gap: i64| {
        let mut ensemble = Ensemble::new();
        for at in 0..2_000 {
            ensemble.observe(&seen(at * gap, quiet(at)));
        }
        ensemble.judge.needed(TUNING)
    };
    assert!(needed(1_000_000) > needed(60 * MINUTE) + 2.0);
}

#[test]
fn it_is_small() {
    assert!(size_of::<Judge>() <= 1_536, "{}", size_of::<Judge>());
    assert!(size_of::<Ensemble>() == size_of::<usize>());
}

#[test]
fn every_place_has_its_feature() {
    assert_eq!(Feature::at(0), (Feature::Value, false));
    assert_eq!(Feature::at(9), (Feature::Hour, true));
    assert_eq!(Feature::at(FEATURES - 1), (Feature::Noise, false));
}

#[test]
fn what_no_readings_lead_to_is_not_sound() {
    let bytes = postcard::to_allocvec(&Ensemble::new()).unwrap();
    assert!(postcard::from_bytes::<Ensemble>(&bytes).unwrap().is_sound());
    let mut damaged = bytes.clone();
    // The origin is the first number after the count.
    damaged[1..9].copy_from_slice(&f64::NAN.to_le_bytes());
    assert!(!postcard::from_bytes::<Ensemble>(&damaged).unwrap().is_sound());
}
