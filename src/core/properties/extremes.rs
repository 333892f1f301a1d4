//! Any finite value at any time: no panic, nothing that is not finite, no state without bound.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Outcome, Sensor, Step};
use crate::core::{ANOMALY_HISTORY, DetectorSpec, SeriesConfig, WindowSpec, decode, encode};
use crate::domain::{SeriesId, Timestamp};

fn values() -> impl Strategy<Value = f64> {
    let edges = prop::sample::select(vec![
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        -f64::from_bits(1),
        0.0,
        -0.0,
        1e154,
        -1e155,
    ]);
    prop_oneof![
        edges,
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("finite", |value| value.is_finite())
    ]
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>(), -1_000..1_000i64]
}

fn check(outcome: &Outcome) {
    for window in &outcome.effects.windows {
        for value in [
            window.min,
            window.max,
            window.mean,
            window.stddev,
            window.first,
            window.last,
        ] {
            assert!(value.is_finite(), "{window:?}");
        }
        assert!(window.min <= window.mean && window.mean <= window.max && window.stddev >= 0.0);
    }
    for anomaly in &outcome.effects.anomalies {
        let limits = [anomaly.expected, anomaly.band.low, anomaly.band.high];
        assert!(
            limits.iter().flatten().all(|limit| limit.is_finite()),
            "{anomaly:?}"
        );
        assert!((0.0..=1.0).contains(&anomaly.score), "{anomaly:?}");
        assert!(anomaly.explanation.len() < 250, "{anomaly:?}");
    }
}

proptest! {
    #[test]
    fn no_value_and_no_time_does_harm(
        (jump, above, values) in (values(), values(), prop::collection::vec((values(), times(), 0..100i64), 1..60)),
        (size, lateness, idle_after, after, ring) in (times(), times(), times(), times(), 0..5usize),
    ) {
        let config = Arc::new(SeriesConfig {
            windows: vec![WindowSpec::Tumbling { size }],
            lateness,
            idle_after,
            ring,
            detectors: vec![
                DetectorSpec::Jump { threshold: jump },
                DetectorSpec::Threshold { above },
                DetectorSpec::Silence { after },
                DetectorSpec::Ensemble {},
                DetectorSpec::Rate { above: 1.0, per: 60 },
                DetectorSpec::Stuck { after: 9, within: 0.0 },
                DetectorSpec::ZScore { above: 3.0, window: 4 },
                DetectorSpec::Ewma { above: 3.0, span: 4 },
                DetectorSpec::Hampel { above: 3.0, window: 5 },
                DetectorSpec::Seasonal { above: 3.0, season: crate::core::Season::Day },
                DetectorSpec::Shift { above: 5.0, span: 6 },
            ],
            rules: super::rules(above, after, size, after.saturating_abs()),
        });
        let mut sensor = Sensor::new(&config);
        for (value, time, wait) in values {
            let step = Step::Observe { series: SeriesId(1), time: Timestamp(time), value, wait };
            check(&sensor.take(step));
            check(&sensor.take(Step::Advance { wait: time }));
            let view = sensor.state.inspect();
            prop_assert!(view.anomalies.len() <= ANOMALY_HISTORY);
            prop_assert!(view.series[0].remembered <= ring.max(1));
            let restored = decode(&encode(&sensor.state), &|_| config.clone());
            prop_assert_eq!(restored.map(|state| encode(&state)), Ok(encode(&sensor.state)));
        }
    }

    #[test]
    fn open_windows_are_no_more_than_lateness_allows(
        size in 1..50i64,
        lateness in 0..500i64,
        times in prop::collection::vec(-5_000..5_000i64, 1..200),
    ) {
        let config = SeriesConfig { windows: vec![WindowSpec::Tumbling { size }], lateness, ring: 3, ..Default::default() };
        let mut sensor = Sensor::new(&Arc::new(config));
        for time in times {
            sensor.take(Step::Observe { series: SeriesId(1), time: Timestamp(time), value: 1.0, wait: 0 });
            let open = sensor.state.inspect().series[0].windows[0].open.len() as i64;
            prop_assert!(open <= (lateness + size - 1) / size + 1);
        }
    }
}
