//! Back-off, exactly as configured.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sensorhive::actors::supervision::{Backoff, CrashBudget, Jitter, Policy};

use crate::worker::*;

#[test]
fn the_ceiling_doubles_up_to_its_maximum() {
    let backoff = Backoff::default();
    let seconds: Vec<f64> = (1..=11)
        .map(|attempt| backoff.ceiling(attempt).as_secs_f64())
        .collect();
    assert_eq!(
        seconds,
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    );
    for attempt in [64, 127, 128, 129, 1_000, u32::MAX] {
        assert_eq!(backoff.ceiling(attempt), Duration::from_secs(30));
    }
    let tiny = Backoff {
        base: Duration::from_nanos(1),
        ..backoff
    };
    assert_eq!(tiny.ceiling(35), Duration::from_nanos(1 << 34));
    assert_eq!(tiny.ceiling(36), Duration::from_secs(30));
    let none = Backoff {
        base: Duration::ZERO,
        ..backoff
    };
    assert_eq!(none.ceiling(9), Duration::ZERO);
}

#[test]
fn the_delays_follow_the_formula_with_seeded_jitter() {
    const SEED: u64 = 7;
    paused(async {
        let policy = Policy {
            budget: CrashBudget {
                crashes: 100,
                ..CrashBudget::default()
            },
            backoff: Backoff {
                jitter: Jitter::Seeded(SEED),
                ..Backoff::default()
            },
            ..Policy::default()
        };
        let view = View::default();
        let (address, _handle) = view.start(policy);
        for _ in 0..12 {
            crash(&address, &view).await;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let expected: Vec<Duration> = (0..12)
            .map(|n| {
                let ceiling = (100_000_000u128 << n).min(30_000_000_000);
                let nanos = ceiling * u128::from(rng.next_u64()) / u128::from(u64::MAX);
                Duration::from_nanos(nanos as u64)
            })
            .collect();
        assert_eq!(view.delays(), expected);
        // The work waited as long as the event said; tokio's timers are whole milliseconds.
        let crashed = view.times("restarting");
        let resumed = &view.times("resume")[1..];
        for ((crashed, resumed), delay) in crashed.iter().zip(resumed).zip(&expected) {
            let waited = resumed.duration_since(*crashed);
            assert!(
                waited >= *delay && waited <= *delay + ms(2),
                "{waited:?} for {delay:?}"
            );
        }
    });
}

#[test]
fn full_jitter_spreads_over_the_whole_ceiling() {
    paused(async {
        let policy = Policy {
            budget: CrashBudget {
                crashes: 10_000,
                ..CrashBudget::default()
            },
            backoff: Backoff {
                base: Duration::from_secs(1),
                max: Duration::from_secs(1),
                jitter: Jitter::Full,
            },
            ..Policy::default()
        };
        let view = View::default();
        let (address, _handle) = view.start(policy);
        for _ in 0..200 {
            crash(&address, &view).await;
        }
        let delays = view.delays();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
        // Each of these fails for a uniform source with a probability of 0.8^200.
        assert!(delays.iter().any(|delay| *delay < ms(200)));
        assert!(delays.iter().any(|delay| *delay > ms(800)));
    });
}

#[test]
fn a_stable_minute_resets_the_back_off() {
    paused(async {
        let view = View::default();
        let (address, _handle) = view.start(exact());
        crash(&address, &view).await;
        crash(&address, &view).await;
        tokio::time::sleep(ms(59_900)).await;
        crash(&address, &view).await;
        assert_eq!(
            view.delays(),
            [ms(100), ms(200), ms(400)],
            "59.9 s is not a minute"
        );
        tokio::time::sleep(ms(60_000)).await;
        crash(&address, &view).await;
        crash(&address, &view).await;
        assert_eq!(view.delays()[3..], [ms(100), ms(200)]);
    });
}
