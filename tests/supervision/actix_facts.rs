//! What actix 0.13.5 does by itself. The supervisor is built on these facts; when an update changes one, this says so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Poll, Waker};

use actix::dev::ContextFut;
use actix::prelude::*;
use sensorhive::actors::supervision::{contain, install_panic_hook};

use crate::worker::*;

#[test]
fn the_supervisor_of_actix_does_not_survive_a_panic() {
    paused(async {
        let view = View::default();
        let worker = view.clone();
        let address = actix::Supervisor::start(move |_| worker.worker());
        assert_eq!(address.send(Ping).await, Ok(1));
        let (guard, lost) = Guard::new();
        address.do_send(Run::panic());
        address.do_send(Poison(guard));
        assert_eq!(address.send(Ping).await, Err(MailboxError::Closed));
        assert_eq!(view.count("restarting"), 0);
        assert_eq!(view.count("dropped"), 1);
        assert!(lost.load(Ordering::SeqCst), "the mailbox is gone with it");
    });
}

#[test]
fn a_panic_takes_one_actor_and_leaves_the_arbiter() {
    install_panic_hook();
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let start = || Actor::start_in_arbiter(&arbiter.handle(), |_| View::default().worker());
        let (wild, calm) = (start(), start());
        assert_eq!(wild.send(Run::panic()).await, Err(MailboxError::Closed));
        assert_eq!(wild.send(Ping).await, Err(MailboxError::Closed));
        assert_eq!(calm.send(Ping).await, Ok(1));
        arbiter.stop();
        arbiter.join().unwrap();
    });
}

#[test]
fn do_send_ignores_the_capacity_of_the_mailbox() {
    paused(async {
        let view = View::default();
        let address = view.worker().start();
        for _ in 0..1_000 {
            address.do_send(Ping);
        }
        settle().await;
        assert_eq!(view.count("ping"), 1_000);
    });
}

#[test]
fn try_send_is_bounded_only_on_an_address_that_is_kept() {
    paused(async {
        let view = View::default();
        let address = view.worker().start();
        let accepted = (0..1_000).take_while(|_| address.try_send(Ping).is_ok()).count();
        assert!((16..=18).contains(&accepted), "{accepted}");
        for _ in 0..1_000 {
            assert!(
                address.clone().try_send(Ping).is_ok(),
                "every clone has a place of its own"
            );
        }
    });
}

#[test]
fn a_mailbox_is_drained_before_anything_else_has_its_turn() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        address.send(Ping).await.unwrap();
        let before_timer = Arc::new(AtomicU32::new(0));
        let seen = before_timer.clone();
        address.do_send(Run::new(move |_, context| {
            let look = move |worker: &mut Worker, _: &mut Context<Worker>| {
                seen.store(worker.handled, Ordering::SeqCst);
            };
            context.notify_later(Run::new(look), ms(0));
            handle.stop();
        }));
        for _ in 0..10_000 {
            address.do_send(Ping);
        }
        settle().await;
        assert_eq!(view.count("ping"), 10_001, "stop came after all of them");
        assert_eq!(
            before_timer.load(Ordering::SeqCst),
            10_001,
            "and so did the timer"
        );
    });
}

fn poll(future: &mut ContextFut<Worker, Context<Worker>>) -> Poll<()> {
    Pin::new(future).poll(&mut std::task::Context::from_waker(Waker::noop()))
}

#[test]
fn a_context_restarts_after_a_panic_with_its_mailbox_and_the_same_actor() {
    paused(async {
        let view = View::default();
        let mut future = Context::new().into_future(view.worker());
        let address = future.address();
        address.do_send(Ping);
        address.do_send(Run::panic());
        address.do_send(Run::new(|worker, _| assert_eq!(worker.handled, 0)));
        address.do_send(Ping);
        assert!(contain(|| poll(&mut future)).is_err());
        assert!(future.restart());
        assert!(poll(&mut future).is_pending());
        assert_eq!(view.calls(), ["started", "ping", "restarting", "started", "ping"]);
        drop(address);
        assert!(!future.restart(), "not without an address");
    });
}

#[test]
fn a_context_that_is_dropped_runs_once_more() {
    paused(async {
        let view = View::default();
        let mut future = Context::new().into_future(view.worker());
        let _address = future.address();
        assert!(poll(&mut future).is_pending());
        drop(future);
        assert_eq!(view.calls(), ["started", "stopping", "stopped", "dropped"]);
        let view = View::default();
        drop(Context::new().into_future(view.worker()));
        assert_eq!(
            view.calls(),
            ["started", "stopping", "stopped", "dropped"],
            "even one that never began"
        );
    });
}

#[test]
fn a_context_terminated_from_outside_starts_again_when_it_is_polled() {
    paused(async {
        let view = View::default();
        let mut future = Context::new().into_future(view.worker());
        let _address = future.address();
        assert!(poll(&mut future).is_pending());
        future.ctx().terminate();
        assert!(poll(&mut future).is_ready());
        assert_eq!(view.calls(), ["started", "started", "stopped"]);
        drop(future);
        assert_eq!(view.calls(), ["started", "started", "stopped", "dropped"]);
    });
}

/// A restart numbers futures from the start again and keeps cancellations, so that an old one hits a new future. What `resume`
/// begins comes after the old cancellations were looked at.
#[test]
fn a_cancellation_from_before_a_restart_hits_what_started_begins() {
    paused(async {
        let ticks = Arc::new(AtomicU32::new(0));
        let begin = || {
            let ticks = ticks.clone();
            Box::new(move |context: &mut Context<Worker>| {
                let ticks = ticks.clone();
                context.run_interval(ms(10), move |_, _| {
                    ticks.fetch_add(1, Ordering::SeqCst);
                });
            })
        };
        let in_started = Plan {
            on_started: Some(begin()),
            ..Plan::default()
        };
        let in_resume = Plan {
            on_resume: Some(begin()),
            ..Plan::default()
        };
        for (plan, ticks_on) in [(in_started, false), (in_resume, true)] {
            let (address, handle) = View::planned(plan).start(exact());
            settle().await;
            pass(ms(11)).await;
            assert_eq!(ticks.swap(0, Ordering::SeqCst), 1);
            let cancel_and_panic = Run::new(|_, context| {
                context.cancel_future(SpawnHandle::default().next());
                panic!("planned panic after a cancellation");
            });
            let _ = address.send(cancel_and_panic).await;
            tokio::time::sleep(ms(1_000)).await;
            assert_eq!(handle.restarts(), 1);
            assert_eq!(ticks.swap(0, Ordering::SeqCst) > 0, ticks_on);
        }
    });
}

#[test]
fn a_future_spawned_beside_the_actor_outlives_it() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        let spawn = Run::new(move |_, _| {
            actix::spawn(async move {
                tokio::time::sleep(ms(100)).await;
                flag.store(true, Ordering::SeqCst);
                panic!("planned panic nobody hears of");
            });
        });
        address.send(spawn).await.unwrap();
        handle.stop();
        handle.ended().await;
        pass(ms(101)).await;
        assert!(done.load(Ordering::SeqCst));
        assert_eq!(handle.crashes(), 0);
    });
}

/// Runs itself in a process of its own, which must die.
#[test]
fn a_plain_actor_dropped_by_a_panic_aborts_when_its_stopped_panics() {
    const MARK: &str = "SENSORHIVE_TEST_ABORTS";
    if std::env::var_os(MARK).is_some() {
        paused(async {
            let view = View::planned(Plan {
                stopped_panics: 1,
                ..Plan::default()
            });
            let mut future = Context::new().into_future(view.worker());
            let _address = future.address();
            assert!(poll(&mut future).is_pending());
            let _held = future;
            panic!("planned panic of who holds it");
        });
    }
    let name = "actix_facts::a_plain_actor_dropped_by_a_panic_aborts_when_its_stopped_panics";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&output.status),
        Some(6),
        "{output:?}"
    );
}
