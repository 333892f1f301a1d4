//! The crash budget: quarantine, degradation, and the way back.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use sensorhive::actors::supervision::{
    Backoff, Crash, CrashBudget, EventKind, Exhausted, ExitReason, Handle, Jitter, Phase, Policy, Restart,
    contain,
};

use crate::worker::*;

fn keep_trying() -> Policy {
    Policy {
        exhausted: Exhausted::KeepTrying,
        ..exact()
    }
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

async fn quarantined(plan: Plan, policy: Policy) -> (View, Addr<Worker>, Arc<Handle>) {
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
        handle.revive("operator", "it is mended");
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
                by: "operator".into(),
                why: "it is mended".into()
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
        handle.revive("operator", "it is mended");
        settle().await;
        assert_eq!(view.calls(), ["started", "resume"]);
        address.do_send(Run::panic());
        settle().await;
        handle.revive("operator", "it is mended");
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
        let report = || contain(|| panic!("contained")).unwrap_err();
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
fn a_hopeless_actor_is_quarantined_at_once_and_may_be_revived() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        settle().await;
        handle.quarantine(Crash::new("hopeless"));
        settle().await;
        assert_eq!(handle.phase(), Phase::Quarantined);
        assert_eq!(
            (handle.crashes(), handle.last_crash()),
            (1, Some(Crash::new("hopeless")))
        );
        assert_eq!(view.count("quarantined"), 1);
        assert_eq!(address.send(Ping).await, Ok(1), "it answers");
        handle.quarantine(Crash::new("still"));
        settle().await;
        assert_eq!(view.count("quarantined"), 1);
        handle.revive("operator", "mended");
        settle().await;
        assert_eq!((handle.phase(), view.count("resume")), (Phase::Running, 2));
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
        handle.report_crash(Crash::new("contained"));
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
