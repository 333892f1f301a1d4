//! What reaches an actor through its handle, whatever it is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::prelude::*;
use sensorhive::actors::supervision::{CrashBudget, EventKind, ExitReason, Phase, Policy};

use crate::worker::*;

#[test]
fn an_admin_restart_throws_the_state_away_and_is_no_crash() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        assert_eq!(address.send(Ping).await, Ok(1));
        assert_eq!(address.send(Ping).await, Ok(2));
        for restart in 1..=20 {
            handle.restart("operator", "looks odd");
            settle().await;
            assert_eq!(handle.phase(), Phase::Running, "at once, without back-off");
            assert_eq!(address.send(Ping).await, Ok(1));
            assert_eq!(handle.restarts(), restart);
        }
        assert_eq!(handle.crashes(), 0);
        assert_eq!(handle.last_crash(), None);
        let reason = ExitReason::Admin {
            by: "operator".into(),
            why: "looks odd".into(),
        };
        assert!(
            view.events()
                .iter()
                .all(|event| matches!(event, EventKind::Restarted { reason: is, .. } if *is == reason))
        );
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(
            view.delays(),
            [ms(100)],
            "it did not count for the back-off either"
        );
    });
}

#[test]
fn what_happened_in_an_earlier_life_counts_on_but_not_against_the_budget() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        handle.carry_over(7, 90);
        assert_eq!((handle.restarts(), handle.crashes()), (7, 90));
        crash(&address, &view).await;
        assert_eq!((handle.restarts(), handle.crashes()), (8, 91));
        assert_eq!(
            handle.phase(),
            Phase::Running,
            "one crash of this life is within the budget"
        );
    });
}

#[test]
fn an_admin_restart_ends_the_back_off() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(handle.phase(), Phase::BackingOff);
        handle.restart("operator", "now");
        settle().await;
        assert_eq!(handle.phase(), Phase::Running);
        assert_eq!(view.count("resume"), 2);
        pass(ms(1_000)).await;
        assert_eq!(view.count("resume"), 2, "the timer of the back-off is gone");
    });
}

#[test]
fn an_admin_restart_frees_a_mailbox_that_waits() {
    paused(async {
        let view = View::planned(Plan {
            started_panics: 1,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        let answer = actix::spawn(address.send(Ping));
        settle().await;
        assert_eq!(view.count("ping"), 0);
        handle.restart("operator", "now");
        settle().await;
        assert_eq!(view.count("ping"), 1);
        assert_eq!(answer.await.unwrap(), Ok(1));
    });
}

#[test]
fn an_admin_restart_ends_the_quarantine() {
    paused(async {
        let policy = Policy {
            budget: CrashBudget {
                crashes: 0,
                ..CrashBudget::default()
            },
            ..exact()
        };
        let view = View::default();
        let (address, handle) = view.start(policy);
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(handle.phase(), Phase::Quarantined);
        handle.restart("operator", "fixed");
        settle().await;
        assert_eq!(handle.phase(), Phase::Running);
        assert_eq!(view.count("resume"), 2);
    });
}

#[test]
fn it_is_restarted_when_it_works_and_not_before() {
    paused(async {
        let view = View::planned(Plan {
            on_started: Some(Box::new(|context| {
                let prepare = actix::fut::wrap_future::<_, Worker>(tokio::time::sleep(ms(500)));
                context.wait(prepare);
            })),
            ..Plan::default()
        });
        let (_address, handle) = view.start(exact());
        settle().await;
        pass(ms(600)).await;
        handle.restart("operator", "again");
        settle().await;
        pass(ms(400)).await;
        assert_eq!((view.count("resume"), view.events()), (1, vec![]));
        pass(ms(200)).await;
        assert_eq!(view.count("resume"), 2);
        assert!(matches!(view.events()[..], [EventKind::Restarted { .. }]));
    });
}

/// A command is not a message: it comes through where the mailbox does not.
#[test]
fn an_admin_restart_frees_an_actor_that_waits_for_ever() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let wait = |_: &mut Worker, context: &mut Context<Worker>| {
            context.wait(actix::fut::wrap_future::<_, Worker>(std::future::pending()));
        };
        address.send(Run::new(wait)).await.unwrap();
        let answer = actix::spawn(address.send(Ping));
        settle().await;
        assert_eq!(view.count("ping"), 0);
        handle.restart("operator", "stuck");
        settle().await;
        assert_eq!(answer.await.unwrap(), Ok(1));
    });
}

#[test]
fn stop_ends_an_actor_that_works() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        assert_eq!(address.send(Ping).await, Ok(1));
        let (guard, lost) = Guard::new();
        handle.stop();
        address.do_send(Poison(guard));
        handle.ended().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(
            view.calls(),
            ["started", "resume", "ping", "stopping", "stopped", "dropped"]
        );
        assert_eq!(
            view.events(),
            [EventKind::Stopped {
                reason: ExitReason::Stopped
            }]
        );
        assert!(
            lost.load(Ordering::SeqCst),
            "a queued message is dropped, and its guard reports"
        );
        assert_eq!(address.send(Ping).await, Err(MailboxError::Closed));
        handle.ended().await;
    });
}

#[test]
fn stop_ends_an_actor_in_back_off() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(handle.phase(), Phase::BackingOff);
        handle.stop();
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped, "without waiting for the back-off");
        assert_eq!(view.count("stopped"), 1);
        assert_eq!(view.count("dropped"), 1);
        assert_eq!(
            view.events().last(),
            Some(&EventKind::Stopped {
                reason: ExitReason::Stopped
            })
        );
    });
}

/// Its context has been restarted and has not begun: it must not be started just to be stopped.
#[test]
fn stop_ends_an_actor_whose_mailbox_waits() {
    paused(async {
        let view = View::planned(Plan {
            started_panics: 1,
            ..Plan::default()
        });
        let (_address, handle) = view.start(exact());
        settle().await;
        handle.stop();
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(view.calls(), ["started", "restarting", "dropped"]);
    });
}

#[test]
fn stop_ends_an_actor_in_quarantine() {
    paused(async {
        let policy = Policy {
            budget: CrashBudget {
                crashes: 0,
                ..CrashBudget::default()
            },
            ..exact()
        };
        let view = View::default();
        let (address, handle) = view.start(policy);
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(handle.phase(), Phase::Quarantined);
        handle.stop();
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(view.count("dropped"), 1);
    });
}

#[test]
fn stop_ends_an_actor_that_refuses_to() {
    paused(async {
        let view = View::planned(Plan {
            refuses_to_stop: true,
            ..Plan::default()
        });
        let (_address, handle) = view.start(exact());
        settle().await;
        handle.stop();
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(view.calls(), ["started", "resume", "stopping", "dropped"]);
    });
}

#[test]
fn stop_before_the_first_poll_ends_an_actor_that_never_began() {
    paused(async {
        let view = View::default();
        let (_address, handle) = view.start(exact());
        handle.stop();
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(view.calls(), ["dropped"]);
    });
}

#[test]
fn commands_after_the_end_do_nothing() {
    paused(async {
        let view = View::default();
        let (_address, handle) = view.start(exact());
        handle.stop();
        settle().await;
        handle.restart("operator", "too late");
        handle.revive("operator", "it is mended");
        handle.stop();
        settle().await;
        assert_eq!(handle.phase(), Phase::Stopped);
        assert_eq!(view.events().len(), 1);
    });
}

#[test]
fn a_command_comes_from_any_thread() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        assert_eq!(address.send(Ping).await, Ok(1));
        let sent = handle.clone();
        std::thread::spawn(move || sent.stop()).join().unwrap();
        handle.ended().await;
        assert_eq!(handle.phase(), Phase::Stopped);
    });
}

#[test]
fn an_observer_that_panics_harms_nobody() {
    paused(async {
        let view = View::default();
        let spec = view
            .spec(exact())
            .observer(Arc::new(|_: &_| panic!("planned panic in an observer")));
        let (address, handle) = sensorhive::actors::supervision::start(spec, |_, _| view.worker());
        address.do_send(Run::panic());
        assert_eq!(address.send(Ping).await, Ok(1));
        assert_eq!(handle.crashes(), 1, "the observer's panic is not the actor's");
        handle.stop();
        handle.ended().await;
    });
}

#[test]
fn what_is_to_run_at_the_end_runs_once() {
    paused(async {
        let view = View::default();
        let (_address, handle) = view.start(exact());
        let (before, after) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flag = before.clone();
        handle.at_end(|| panic!("planned panic at the end"));
        handle.at_end(move || assert!(!flag.swap(true, Ordering::SeqCst)));
        settle().await;
        assert!(!before.load(Ordering::SeqCst));
        handle.stop();
        settle().await;
        assert!(before.load(Ordering::SeqCst));
        let flag = after.clone();
        handle.at_end(move || flag.store(true, Ordering::SeqCst));
        assert!(after.load(Ordering::SeqCst), "at once when it is over");
    });
}
