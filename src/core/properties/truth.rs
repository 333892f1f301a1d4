//! Whatever the order, repetition and lateness of the readings: verdicts, windows and anomalies are the oracle's.

use proptest::prelude::*;

use super::oracle::{Oracle, check_window};
use super::{Outcome, Sensor, Step, configs, streams};
use crate::core::{Effects, SensorState, Verdict};
use crate::domain::{ActiveTime, AlertEvent, BatchTime, Timestamp};

const LONG: i64 = 1_000_000;

proptest! {
    #[test]
    fn verdicts_windows_and_anomalies_are_the_oracles(config in configs(), stream in streams(60)) {
        let mut sensor = Sensor::new(&config);
        let mut oracle = Oracle { active: sensor.active.0, ..Oracle::default() };
        for step in stream.into_iter().chain([Step::Advance { wait: LONG }]) {
            let outcome = sensor.take(step);
            oracle.follow(step, &outcome, &config);
        }
        oracle.check_anomalies(&config);
        let all = oracle.all_windows(&config.windows);
        prop_assert_eq!(oracle.windows.len(), all.len(), "at the end all are closed");
        for (span, values) in &all {
            check_window(&oracle.windows[span], values);
        }
    }

    #[test]
    fn a_watermark_only_grows_and_what_it_has_reached_is_closed(config in configs(), stream in streams(60)) {
        let mut sensor = Sensor::new(&config);
        let mut before = Vec::new();
        for step in stream {
            sensor.take(step);
            let view = sensor.state.inspect();
            let watermarks: Vec<_> = view.series.iter().map(|series| (series.series, series.watermark)).collect();
            for (series, watermark) in before {
                prop_assert!(watermarks.iter().any(|now| now.0 == series && now.1 >= watermark));
            }
            for series in &view.series {
                for window in series.windows.iter().flat_map(|set| &set.open) {
                    prop_assert!(window.end > series.watermark && window.start <= series.newest_time);
                }
            }
            before = watermarks;
        }
    }

    #[test]
    fn something_is_due_at_the_next_deadline_and_nothing_before(config in configs(), stream in streams(40)) {
        let mut sensor = Sensor::new(&config);
        for step in stream {
            sensor.take(step);
            let Some(deadline) = sensor.state.next_deadline() else { continue };
            let advance = |active: ActiveTime| {
                let (mut state, mut effects) = (sensor.state.clone(), Effects::default());
                state.advance(BatchTime { now: Timestamp(0), active }, &mut effects);
                (state, effects)
            };
            if deadline > sensor.active {
                let (state, effects) = advance(ActiveTime(deadline.0 - 1));
                prop_assert!(effects.is_empty());
                prop_assert_eq!(state.inspect(), sensor.state.inspect());
            }
            let (mut state, mut effects) = advance(deadline);
            let pending = |state: &SensorState| state.inspect() != sensor.state.inspect();
            prop_assert!(!effects.is_empty() || pending(&state));
            effects.clear();
            state.advance(BatchTime { now: Timestamp(0), active: deadline }, &mut effects);
            prop_assert!(effects.is_empty(), "what is done is done");
        }
    }

    /// A replay knows neither when timers were looked at nor what was thrown away.
    #[test]
    fn a_replay_of_what_was_stored_gives_the_same_state(config in configs(), stream in streams(60)) {
        let mut first = Sensor::new(&config);
        let mut oracle = Oracle { active: first.active.0, ..Oracle::default() };
        let (mut found, mut alerts) = (Vec::new(), Vec::new());
        // A window that it had doubts about was not judged by its rule; in a replay there may be none.
        let mut doubted = false;
        for step in stream.into_iter().filter(|step| !matches!(step, Step::Reset)) {
            let outcome = first.take(step);
            oracle.follow(step, &outcome, &config);
            doubted |= matches!(outcome.verdict, Some(Verdict::Unjudged { .. }));
            found.extend(outcome.effects.anomalies);
            alerts.extend(outcome.effects.alerts);
        }

        let mut second = Sensor::new(&config);
        let (mut again, mut alerts_again) = (Vec::new(), Vec::new());
        let mut windows = Oracle { rows: oracle.rows.clone(), ..Oracle::default() };
        let end = oracle.active;
        for (series, time, value, active) in oracle.stored.iter().copied() {
            let wait = active - second.active.0;
            let outcome = second.take(Step::Observe { series, time, value, wait });
            let is_new = matches!(outcome.verdict, Some(Verdict::Accepted { .. } | Verdict::Unjudged { .. }));
            prop_assert!(is_new);
            windows.commit(&outcome);
            again.extend(outcome.effects.anomalies);
            alerts_again.extend(outcome.effects.alerts);
        }
        let last: Outcome = second.take(Step::Advance { wait: end - second.active.0 });
        windows.commit(&last);
        again.extend(last.effects.anomalies);
        alerts_again.extend(last.effects.alerts);

        let certain = |event: &AlertEvent| !doubted || event.rule.as_ref() != "window";
        alerts.retain(certain);
        alerts_again.retain(certain);
        prop_assert_eq!(found, again);
        prop_assert_eq!(alerts, alerts_again);
        prop_assert_eq!(windows.windows.len(), oracle.windows.len());
        for (span, values) in oracle.all_windows(&config.windows) {
            if let Some(result) = windows.windows.get(&span) {
                check_window(result, &values);
            }
        }
        prop_assert_eq!(settled(&first, doubted), settled(&second, doubted));
    }
}

/// The state, but for this: a duplicate that only the store could recognize made the first run doubt its window.
fn settled(sensor: &Sensor, doubted: bool) -> crate::core::SensorView {
    let mut view = sensor.state.inspect();
    for series in &mut view.series {
        series
            .rules
            .retain(|rule| !doubted || rule.rule.as_ref() != "window");
    }
    for window in view
        .series
        .iter_mut()
        .flat_map(|series| &mut series.windows)
        .flat_map(|set| &mut set.open)
    {
        window.incomplete = false;
    }
    view
}
