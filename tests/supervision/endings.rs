//! How actors end, and that no ending reaches further than the actor.

use std::time::Duration;

use actix::prelude::*;
use sensorhive::actors::supervision::{
    CrashBudget, EventKind, ExitReason, Phase, Policy, Restart, install_panic_hook, start, start_in_arbiter,
};
use tokio::task::LocalSet;

use crate::worker::*;

#[test]
fn a_permanent_actor_that_stops_itself_is_restarted_and_backs_off_if_it_goes_on() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let _ = address.send(Run::stop()).await;
        settle().await;
        assert_eq!(handle.phase(), Phase::Running, "the first time at once");
        assert_eq!(
            view.calls(),
            [
                "started",
                "resume",
                "stopping",
                "stopped",
                "restarting",
                "started",
                "resume"
            ]
        );
        let _ = address.send(Run::stop()).await;
        settle().await;
        assert_eq!(handle.phase(), Phase::BackingOff);
        assert_eq!(address.send(Ping).await, Ok(1));
        pass(ms(101)).await;
        assert_eq!(handle.phase(), Phase::Running);
        let _ = address.send(Run::stop()).await;
        pass(ms(199)).await;
        assert_eq!(handle.phase(), Phase::BackingOff);
        pass(ms(2)).await;
        assert_eq!(handle.phase(), Phase::Running);
        assert_eq!((handle.restarts(), handle.crashes()), (3, 0));
        let stopped = |event: &EventKind| {
            matches!(
                event,
                EventKind::Restarted {
                    reason: ExitReason::Stopped,
                    ..
                }
            )
        };
        assert!(view.events().iter().all(stopped));
    });
}

#[test]
fn an_actor_that_stops_as_soon_as_it_starts_does_not_spin() {
    paused(async {
        let view = View::planned(Plan {
            on_started: Some(Box::new(|context| context.stop())),
            ..Plan::default()
        });
        let (_address, _handle) = view.start(exact());
        tokio::time::sleep(Duration::from_secs(100)).await;
        // 0, 0.1, 0.3, 0.7, … 51.1 s, then every 30 s, each twice at most.
        let starts = view.count("started");
        assert!((8..=26).contains(&starts), "{starts}");
    });
}

#[test]
fn a_transient_actor_is_restarted_after_a_panic_only() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(Policy {
            restart: Restart::Transient,
            ..exact()
        });
        let _ = address.send(Run::panic()).await;
        settle().await;
        assert_eq!(address.send(Ping).await, Ok(1));
        pass(ms(101)).await;
        assert_eq!(handle.phase(), Phase::Running);
        let _ = address.send(Run::stop()).await;
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(
            view.events().last(),
            Some(&EventKind::Stopped {
                reason: ExitReason::Stopped
            })
        );
    });
}

#[test]
fn an_actor_ends_when_nobody_holds_its_address() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let second = address.clone();
        drop(address);
        settle().await;
        assert_eq!(handle.phase(), Phase::Running);
        drop(second);
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped, "a handle does not keep it");
        assert_eq!(
            view.calls(),
            ["started", "resume", "stopping", "stopped", "dropped"]
        );
        assert_eq!(
            view.events(),
            [EventKind::Stopped {
                reason: ExitReason::Stopped
            }]
        );
    });
}

#[test]
fn an_actor_whose_mailbox_waits_ends_when_nobody_holds_its_address() {
    paused(async {
        let view = View::planned(Plan {
            started_panics: 1,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        settle().await;
        drop(address);
        pass(ms(101)).await;
        assert_eq!(handle.phase(), Phase::Stopped, "when the back-off is over");
    });
}

#[test]
fn an_actor_that_panics_when_nobody_holds_its_address_ends_with_the_panic() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        settle().await;
        address.do_send(Run::new(|_, context| {
            context.run_later(ms(10), |_, _| panic!("planned panic alone"));
        }));
        drop(address);
        settle().await;
        pass(ms(11)).await;
        assert_eq!(handle.phase(), Phase::Stopped);
        let events = view.events();
        let [
            ..,
            EventKind::Stopped {
                reason: ExitReason::Panicked(crash),
            },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(crash.message, "planned panic alone");
    });
}

#[test]
fn a_panic_in_stopped_is_contained_and_told() {
    paused(async {
        let view = View::planned(Plan {
            stopped_panics: 1,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        assert_eq!(address.send(Ping).await, Ok(1));
        handle.stop();
        handle.ended().await;
        let events = view.events();
        let [
            EventKind::Stopped {
                reason: ExitReason::Panicked(crash),
            },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(crash.message, "planned panic in stopped");
        assert_eq!(
            view.calls(),
            ["started", "resume", "ping", "stopping", "stopped", "dropped"]
        );
    });
}

#[test]
fn a_panic_in_stopping_is_contained_and_stopped_is_not_called() {
    paused(async {
        let view = View::planned(Plan {
            stopping_panics: 1,
            ..Plan::default()
        });
        let (_address, handle) = view.start(exact());
        settle().await;
        handle.stop();
        handle.ended().await;
        assert_eq!(view.calls(), ["started", "resume", "stopping", "dropped"]);
        assert_eq!(handle.last_crash().unwrap().message, "planned panic in stopping");
    });
}

#[test]
fn a_permanent_actor_whose_stopped_panics_is_restarted() {
    paused(async {
        let view = View::planned(Plan {
            stopped_panics: 1,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        let _ = address.send(Run::stop()).await;
        settle().await;
        assert_eq!(handle.phase(), Phase::BackingOff);
        assert_eq!(address.send(Ping).await, Ok(1));
    });
}

#[test]
fn a_panic_while_it_is_made_ends_it_before_it_began() {
    paused(async {
        let view = View::default();
        let (address, handle) = start::<Worker>(view.spec(exact()), |_, _| panic!("planned panic in making"));
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(handle.last_crash().unwrap().message, "planned panic in making");
        assert_eq!(address.send(Ping).await, Err(MailboxError::Closed));
    });
}

#[test]
fn a_panic_while_it_is_made_on_another_arbiter_ends_it_before_it_began() {
    install_panic_hook();
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let spec = View::default().spec(exact());
        let (address, handle) =
            start_in_arbiter::<Worker>(&arbiter.handle(), spec, |_, _| panic!("planned panic in making"));
        handle.ended().await;
        assert_eq!(handle.last_crash().unwrap().message, "planned panic in making");
        assert_eq!(address.send(Ping).await, Err(MailboxError::Closed));
    });
}

#[test]
fn an_arbiter_that_is_gone_ends_what_is_started_on_it() {
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        arbiter.stop();
        arbiter.join().unwrap();
        let view = View::default();
        let worker = view.clone();
        let (address, handle) = start_in_arbiter(&handle, view.spec(exact()), move |_, _| worker.worker());
        handle.ended().await;
        assert_eq!(
            view.events(),
            [EventKind::Stopped {
                reason: ExitReason::ArbiterStopped
            }]
        );
        assert_eq!(address.send(Ping).await, Err(MailboxError::Closed));
    });
}

/// The actors of a stopping arbiter are dropped in every state; each `stopped` panics, and nothing aborts.
#[test]
fn an_arbiter_stops_under_actors_in_every_phase() {
    install_panic_hook();
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let start = |plan: Plan, crashes: u32| {
            let budget = CrashBudget {
                crashes,
                ..CrashBudget::default()
            };
            let view = View::planned(Plan {
                stopped_panics: 9,
                ..plan
            });
            let worker = view.clone();
            let spec = view.spec(Policy { budget, ..exact() });
            let (address, handle) = start_in_arbiter(&arbiter.handle(), spec, move |_, _| worker.worker());
            (view, address, handle)
        };
        let working = start(Plan::default(), 5);
        let backing_off = start(Plan::default(), 5);
        let held = start(
            Plan {
                restarting_panics: 1,
                ..Plan::default()
            },
            5,
        );
        let quarantined = start(Plan::default(), 0);
        let _ = backing_off.1.send(Run::panic()).await;
        let _ = held.1.send(Run::panic()).await;
        let _ = quarantined.1.send(Run::panic()).await;
        assert_eq!(working.1.send(Ping).await, Ok(1));
        assert_eq!(quarantined.1.send(Ping).await, Ok(1));
        assert_eq!(quarantined.2.phase(), Phase::Quarantined);
        arbiter.stop();
        arbiter.join().unwrap();
        for (view, _, handle) in [working, backing_off, held, quarantined] {
            assert_eq!(handle.phase(), Phase::Stopped);
            assert_eq!(view.count("dropped"), 1);
            let last = view.events().pop();
            assert_eq!(
                last,
                Some(EventKind::Stopped {
                    reason: ExitReason::ArbiterStopped
                })
            );
        }
    });
}

/// The thread itself unwinds, drops its actors, and each of them panics once more on its way out.
#[test]
fn actors_dropped_while_their_thread_unwinds_do_not_abort() {
    install_panic_hook();
    let (crashed, fresh) = (
        View::planned(Plan {
            stopped_panics: 9,
            ..Plan::default()
        }),
        View::planned(Plan {
            stopping_panics: 9,
            ..Plan::default()
        }),
    );
    let (in_crashed, in_fresh) = (crashed.clone(), fresh.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            let (crashed_address, _) = in_crashed.start(exact());
            let (fresh_address, _) = in_fresh.start(exact());
            let _ = crashed_address.send(Run::panic()).await;
            let _ = crashed_address.send(Ping).await;
            let _ = fresh_address.send(Ping).await;
            std::mem::forget((crashed_address, fresh_address));
            panic!("planned panic of the thread");
        });
    });
    assert!(thread.join().is_err());
    assert_eq!(crashed.count("stopped"), 1);
    assert_eq!(fresh.count("stopping"), 1);
    for view in [crashed, fresh] {
        assert_eq!(view.count("dropped"), 1);
        assert_eq!(
            view.events().last(),
            Some(&EventKind::Stopped {
                reason: ExitReason::ArbiterStopped
            })
        );
    }
}
