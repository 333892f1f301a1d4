//! Back-off and crash budget, exactly as configured.

use actix::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sensorhive::actors::supervision::{
    Backoff, CrashBudget, EventKind, Exhausted, ExitReason, Jitter, Phase, Policy, Restart,
};
use std::time::Duration;

use crate::worker::*;

/// One crash, and its back-off waited for.
async fn crash(address: &Addr<Worker>, view: &View) {
    settle().await;
    let before = view.count("resume");
    address.do_send(Run::panic());
    while view.count("resume") == before {
        tokio::time::sleep(ms(1)).await;
    }
}

fn keep_trying() -> Policy {
    Policy {
        exhausted: Exhausted::KeepTrying,
        ..exact()
    }
}

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

#[test]
fn the_budget_counts_the_crashes_of_a_sliding_minute() {
    paused(async {
        let backoff = Backoff {
            base: ms(1),
            max: ms(1),
            jitter: Jitter::None,
        };
        let view = View::default();
        let (address, handle) = view.start(Policy { backoff, ..exact() });
        // Never more than five in any 60 s, for ever.
        for _ in 0..40 {
            address.do_send(Run::panic());
            tokio::time::sleep(ms(12_001)).await;
            assert_ne!(handle.phase(), Phase::Quarantined);
        }
        assert_eq!(handle.crashes(), 40);
        for _ in 0..6 {
            address.do_send(Run::panic());
            tokio::time::sleep(ms(9_999)).await;
        }
        assert_eq!(handle.phase(), Phase::Quarantined, "six in 50 s");
    });
}

#[test]
fn five_crashes_in_a_minute_are_within_the_budget_and_the_sixth_is_not() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        for _ in 0..5 {
            crash(&address, &view).await;
            assert_eq!(handle.phase(), Phase::Running);
        }
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(handle.phase(), Phase::Quarantined);
        assert_eq!(view.count("quarantined"), 1);
        assert_eq!(view.count("resume"), 6, "not resumed after the sixth");
        assert_eq!(handle.restarts(), 5);
        let events = view.events();
        let [
            ..,
            EventKind::Crashed {
                attempt: 6,
                delay: None,
                ..
            },
            EventKind::Quarantined { crash },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(crash.message, "planned panic in a handler");
    });
}

async fn quarantined(
    plan: Plan,
    policy: Policy,
) -> (
    View,
    Addr<Worker>,
    std::sync::Arc<sensorhive::actors::supervision::Handle>,
) {
    let policy = Policy {
        budget: CrashBudget {
            crashes: 2,
            ..CrashBudget::default()
        },
        ..policy
    };
    let view = View::planned(plan);
    let (address, handle) = view.start(policy);
    crash(&address, &view).await;
    crash(&address, &view).await;
    address.do_send(Run::panic());
    settle().await;
    (view, address, handle)
}

#[test]
fn a_quarantined_actor_answers_and_never_works_by_itself() {
    paused(async {
        let (view, address, handle) = quarantined(Plan::default(), exact()).await;
        assert_eq!(handle.phase(), Phase::Quarantined);
        assert_eq!(address.send(Ping).await, Ok(1));
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert_eq!(address.send(Ping).await, Ok(2));
        assert_eq!(view.count("resume"), 3);
        assert_eq!(handle.phase(), Phase::Quarantined);
    });
}

#[test]
fn revive_takes_it_out_of_quarantine_with_a_fresh_budget() {
    paused(async {
        let (view, address, handle) = quarantined(Plan::default(), exact()).await;
        let restarts = view.count("restarting");
        handle.revive("operator");
        settle().await;
        assert_eq!(handle.phase(), Phase::Running);
        assert_eq!(view.count("resume"), 4);
        assert_eq!(
            view.count("restarting"),
            restarts,
            "its state was thrown away before"
        );
        assert_eq!(
            view.events().last(),
            Some(&EventKind::Revived {
                by: "operator".into()
            })
        );
        crash(&address, &view).await;
        crash(&address, &view).await;
        assert_eq!(
            view.delays()[2..],
            [ms(100), ms(200)],
            "the back-off is fresh too"
        );
        assert_eq!(handle.phase(), Phase::Running);
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(handle.phase(), Phase::Quarantined);
    });
}

#[test]
fn revive_does_nothing_to_an_actor_that_works_or_backs_off() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        settle().await;
        handle.revive("operator");
        settle().await;
        assert_eq!(view.calls(), ["started", "resume"]);
        address.do_send(Run::panic());
        settle().await;
        handle.revive("operator");
        settle().await;
        assert_eq!(handle.phase(), Phase::BackingOff);
        assert_eq!(view.count("resume"), 1);
    });
}

#[test]
fn quarantine_has_a_budget_of_its_own_and_then_the_actor_ends() {
    paused(async {
        let (view, address, handle) = quarantined(Plan::default(), exact()).await;
        for _ in 0..2 {
            assert_eq!(address.send(Run::panic()).await, Err(MailboxError::Closed));
            assert_eq!(address.send(Ping).await, Ok(1), "answers at once");
            assert_eq!(handle.phase(), Phase::Quarantined);
        }
        assert_eq!(
            view.count("quarantined"),
            3,
            "told again each time its state was thrown away"
        );
        address.do_send(Run::panic());
        let (guard, lost) = Guard::new();
        address.do_send(Poison(guard));
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(
            view.events().last(),
            Some(&EventKind::Stopped {
                reason: ExitReason::GaveUp
            })
        );
        assert_eq!(view.count("dropped"), 1);
        assert!(!address.connected());
        assert!(
            lost.load(std::sync::atomic::Ordering::SeqCst),
            "what was queued is reported by its guards"
        );
    });
}

#[test]
fn an_actor_that_cannot_start_in_quarantine_ends() {
    paused(async {
        let view = View::planned(Plan {
            started_panics: 1_000,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        assert_eq!(address.send(Ping).await, Err(MailboxError::Closed));
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(handle.crashes(), 6 + 6);
        assert_eq!(
            view.events().last(),
            Some(&EventKind::Stopped {
                reason: ExitReason::GaveUp
            })
        );
    });
}

#[test]
fn an_actor_that_cannot_throw_its_state_away_ends() {
    paused(async {
        let view = View::planned(Plan {
            restarting_panics: 1_000,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        address.do_send(Run::panic());
        assert_eq!(address.send(Ping).await, Err(MailboxError::Closed));
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(
            view.events().last(),
            Some(&EventKind::Stopped {
                reason: ExitReason::GaveUp
            })
        );
        assert_eq!(view.count("ping"), 0);
    });
}

#[test]
fn a_panic_in_quarantined_is_a_crash_like_any_other() {
    paused(async {
        let (view, address, handle) = quarantined(
            Plan {
                quarantined_panics: 2,
                ..Plan::default()
            },
            exact(),
        )
        .await;
        assert_eq!(handle.phase(), Phase::Quarantined);
        assert_eq!(view.count("quarantined"), 3);
        assert_eq!(address.send(Ping).await, Ok(1));
        let (view, _address, handle) = quarantined(
            Plan {
                quarantined_panics: 3,
                ..Plan::default()
            },
            exact(),
        )
        .await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(view.count("quarantined"), 3);
    });
}

#[test]
fn who_keeps_trying_is_degraded_until_it_was_stable() {
    paused(async {
        let policy = Policy {
            budget: CrashBudget {
                crashes: 2,
                ..CrashBudget::default()
            },
            ..keep_trying()
        };
        let view = View::default();
        let (address, handle) = view.start(policy);
        for _ in 0..5 {
            crash(&address, &view).await;
        }
        let longest = Duration::from_secs(30);
        assert_eq!(view.delays(), [ms(100), ms(200), longest, longest, longest]);
        assert_eq!(handle.phase(), Phase::Degraded, "also while it works");
        assert_eq!(view.count("resume"), 6);
        assert_eq!(view.count("quarantined"), 0);
        let degraded = |kind: &&EventKind| matches!(kind, EventKind::Degraded { .. });
        assert_eq!(view.events().iter().filter(degraded).count(), 1, "told once");
        tokio::time::sleep(ms(59_000)).await;
        assert_eq!(handle.phase(), Phase::Degraded);
        tokio::time::sleep(ms(1_002)).await;
        assert_eq!(handle.phase(), Phase::Running);
        assert_eq!(view.events().last(), Some(&EventKind::Recovered));
        crash(&address, &view).await;
        assert_eq!(view.delays().last(), Some(&ms(100)));
    });
}

#[test]
fn a_degraded_actor_answers_during_its_back_off() {
    paused(async {
        let policy = Policy {
            budget: CrashBudget {
                crashes: 0,
                ..CrashBudget::default()
            },
            ..keep_trying()
        };
        let view = View::default();
        let (address, handle) = view.start(policy);
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(handle.phase(), Phase::Degraded);
        assert_eq!(address.send(Ping).await, Ok(1));
        assert_eq!(view.count("resume"), 1);
        pass(ms(30_001)).await;
        assert_eq!(view.count("resume"), 2);
    });
}

/// With no delay at all between its crashes it must not keep the thread to itself.
#[test]
fn an_actor_that_always_crashes_leaves_time_for_others() {
    paused(async {
        let policy = Policy {
            budget: CrashBudget {
                crashes: 0,
                ..CrashBudget::default()
            },
            backoff: Backoff {
                base: Duration::ZERO,
                max: Duration::ZERO,
                jitter: Jitter::None,
            },
            ..keep_trying()
        };
        let wild = View::planned(Plan {
            started_panics: u32::MAX,
            ..Plan::default()
        });
        let (_wild_address, wild_handle) = wild.start(policy);
        let calm = View::default();
        let (calm_address, _calm_handle) = calm.start(exact());
        for round in 1..=10 {
            assert_eq!(calm_address.send(Ping).await, Ok(round));
        }
        assert!(wild_handle.crashes() > 1);
    });
}

#[test]
fn a_reported_crash_counts_against_the_budget_and_restarts_nothing() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let report = || sensorhive::actors::supervision::contain(|| panic!("contained")).unwrap_err();
        for _ in 0..5 {
            handle.report_crash(report());
            settle().await;
        }
        assert_eq!(address.send(Ping).await, Ok(1));
        assert_eq!(handle.phase(), Phase::Running);
        assert_eq!(view.calls(), ["started", "resume", "ping"]);
        assert_eq!(handle.crashes(), 5);
        assert_eq!(handle.last_crash().unwrap().message, "contained");
        handle.report_crash(report());
        settle().await;
        assert_eq!(handle.phase(), Phase::Quarantined);
        assert_eq!(
            view.calls(),
            [
                "started",
                "resume",
                "ping",
                "restarting",
                "started",
                "quarantined"
            ]
        );
        handle.report_crash(report());
        settle().await;
        assert_eq!(
            handle.phase(),
            Phase::Quarantined,
            "in quarantine a contained panic is only counted"
        );
        assert_eq!(handle.crashes(), 7);
    });
}

#[test]
fn a_reported_crash_past_the_budget_degrades_who_keeps_trying() {
    paused(async {
        let policy = Policy {
            budget: CrashBudget {
                crashes: 0,
                ..CrashBudget::default()
            },
            ..keep_trying()
        };
        let view = View::default();
        let (_address, handle) = view.start(policy);
        settle().await;
        handle.report_crash(sensorhive::actors::supervision::Crash::new("contained"));
        settle().await;
        assert_eq!(handle.phase(), Phase::Degraded);
        assert_eq!(view.calls(), ["started", "resume"]);
        pass(ms(60_001)).await;
        assert_eq!(handle.phase(), Phase::Running);
    });
}

#[test]
fn a_temporary_actor_is_never_restarted() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(Policy {
            restart: Restart::Temporary,
            ..exact()
        });
        let _ = address.send(Run::panic()).await;
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(
            view.calls(),
            ["started", "resume", "stopping", "stopped", "dropped"]
        );
        let events = view.events();
        let [
            EventKind::Crashed { delay: None, .. },
            EventKind::Stopped {
                reason: ExitReason::Panicked(_),
            },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
    });
}
