//! Snapshots and changes of configuration: nothing is lost on the way, nothing goes on wrong after it.

use proptest::prelude::*;

use super::oracle::{Oracle, check_window};
use super::{Outcome, Sensor, Step, configs, streams};
use crate::core::snapshot::{VERSION, sealed};
use crate::core::{decode, encode};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn restored_at_any_prefix_it_goes_on_as_if_never_stopped(config in configs(), stream in streams(30)) {
        let mut sensor = Sensor::new(&config);
        let run: Vec<(Outcome, Vec<u8>)> =
            stream.iter().map(|step| (sensor.take(*step), encode(&sensor.state))).collect();

        let mut prefix = Sensor::new(&config);
        for cut in 0..stream.len() {
            let bytes = encode(&prefix.state);
            let mut restored = Sensor::new(&config);
            restored.state = decode(&bytes, &|_| config.clone()).unwrap();
            restored.active = prefix.active;
            prop_assert_eq!(restored.state.next_deadline(), prefix.state.next_deadline());
            prop_assert_eq!(encode(&restored.state), bytes);
            prop_assert_eq!(restored.state.inspect(), prefix.state.inspect());
            for (step, (outcome, bytes)) in stream.iter().zip(&run).skip(cut) {
                prop_assert_eq!(&restored.take(*step), outcome);
                prop_assert_eq!(&encode(&restored.state), bytes);
            }
            prefix.take(stream[cut]);
        }
    }

    #[test]
    fn under_another_configuration_every_window_it_closes_is_true(
        (first, second) in (configs(), configs()),
        (before, after) in (streams(40), streams(40)),
        restored in any::<bool>(),
    ) {
        let mut sensor = Sensor::new(&first);
        let mut oracle = Oracle { active: sensor.active.0, ..Oracle::default() };
        for step in before {
            let outcome = sensor.take(step);
            oracle.follow(step, &outcome, &first);
        }
        sensor.config = second.clone();
        if restored {
            sensor.state = decode(&encode(&sensor.state), &|_| second.clone()).unwrap();
        } else {
            sensor.state.reconfigure(&|_| second.clone());
        }
        let open: Vec<_> = {
            let view = sensor.state.inspect();
            let watermark = |series| view.series.iter().find(|view| view.series == series).unwrap().watermark;
            let mut open = oracle.all_windows(&second.windows);
            open.retain(|span, _| span.end() > watermark(span.series));
            open.into_keys().collect()
        };
        let kept = oracle.windows.clone();
        let mut touched: Vec<_> = Vec::new();
        for step in after.into_iter().chain([Step::Advance { wait: 1_000_000 }]) {
            let rows = oracle.rows.len();
            let outcome = sensor.take(step);
            if let Step::Observe { series, time, value, .. } = step {
                use crate::core::Verdict::{Accepted, Unjudged};
                if matches!(outcome.verdict, Some(Accepted { .. } | Unjudged { .. })) {
                    oracle.rows.entry((series, time)).or_insert(value);
                }
                if oracle.rows.len() > rows {
                    touched.push((series, time));
                }
            }
            oracle.commit(&outcome);
        }
        let all = oracle.all_windows(&second.windows);
        for span in open {
            prop_assert!(oracle.windows.contains_key(&span), "what was open is closed");
        }
        for (span, values) in &all {
            let inside = |row: &&(_, _)| row.0 == span.series && span.start <= row.1 && row.1 < span.end();
            match oracle.windows.get(span) {
                Some(result) => check_window(result, values),
                None => prop_assert_eq!(touched.iter().find(inside), None, "{:?} is missing", span),
            }
        }
        for span in kept.keys() {
            prop_assert!(oracle.windows.contains_key(span));
        }
    }

    #[test]
    fn the_same_configuration_changes_nothing(config in configs(), stream in streams(40)) {
        let mut sensor = Sensor::new(&config);
        for step in stream {
            sensor.take(step);
        }
        let before = (encode(&sensor.state), sensor.state.next_deadline());
        sensor.state.reconfigure(&|_| config.clone());
        prop_assert_eq!((encode(&sensor.state), sensor.state.next_deadline()), before);
    }

    #[test]
    fn a_damaged_snapshot_is_refused(config in configs(), stream in streams(20), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut sensor = Sensor::new(&config);
        for step in stream {
            sensor.take(step);
        }
        let bytes = encode(&sensor.state);
        let at = at.index(bytes.len());
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << bit;
        prop_assert!(decode(&damaged, &|_| config.clone()).is_err());
        prop_assert!(decode(&bytes[..at], &|_| config.clone()).is_err());
        damaged = bytes;
        damaged.push(bit);
        prop_assert!(decode(&damaged, &|_| config.clone()).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes, &|_| Default::default()).is_err());
    }

    /// Even behind a right checksum: refused, or a state that can be lived with.
    #[test]
    fn an_arbitrary_body_does_no_harm(
        (config, stream, more) in (configs(), streams(20), streams(20)),
        body in prop::collection::vec(any::<u8>(), 0..100),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut sensor = Sensor::new(&config);
        for step in stream {
            sensor.take(step);
        }
        let mut damaged = encode(&sensor.state).split_off(7);
        for (at, byte) in cuts {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        for body in [body, damaged] {
            let Ok(state) = decode(&sealed(VERSION, &body), &|_| config.clone()) else { continue };
            sensor.state = state;
            for step in &more {
                sensor.take(*step);
            }
            let bytes = encode(&sensor.state);
            let restored = decode(&bytes, &|_| config.clone());
            prop_assert_eq!(restored.map(|state| encode(&state)), Ok(bytes));
        }
    }
}
