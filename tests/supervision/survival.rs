//! A panic anywhere in an actor: the same address serves again, and nobody else notices.

use std::sync::atomic::Ordering;

use actix::prelude::*;
use futures_util::stream;
use sensorhive::actors::supervision::{
    ActorPath, ActorSpec, Crash, EventKind, Exhausted, ExitReason, Handle, Phase, Policy, SupervisionEvent,
};

use crate::worker::*;

/// The actor crashed once, answers during its back-off, and works again after it.
async fn assert_survived(view: &View, address: &Addr<Worker>, handle: &Handle, message: &str) {
    settle().await;
    assert_eq!(handle.crashes(), 1);
    let crash = handle.last_crash().unwrap();
    assert_eq!(crash.message, message);
    assert!(crash.location.unwrap().contains(".rs:"), "the hook knows where");
    assert_eq!(handle.phase(), Phase::BackingOff);
    assert_eq!(view.count("restarting"), 1);
    assert_eq!(view.count("resume"), 1);
    assert_eq!(
        address.send(Ping).await,
        Ok(1),
        "answers at once, with its old state thrown away"
    );
    pass(ms(101)).await;
    assert_eq!(view.count("resume"), 2);
    assert_eq!(handle.phase(), Phase::Running);
    assert_eq!(handle.restarts(), 1);
    assert_eq!(address.send(Ping).await, Ok(2));
    assert_eq!(view.count("dropped"), 0);
}

#[test]
fn survives_a_panic_in_a_handler() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        assert_eq!(address.send(Ping).await, Ok(1));
        assert_eq!(address.send(Ping).await, Ok(2));
        assert_eq!(address.send(Run::panic()).await, Err(MailboxError::Closed));
        assert_survived(&view, &address, &handle, "planned panic in a handler").await;
    });
}

#[test]
fn survives_a_panic_in_an_interval() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let start_interval = |_: &mut Worker, context: &mut Context<Worker>| {
            context.run_interval(ms(10), |_, _| panic!("planned panic in an interval"));
        };
        address.send(Run::new(start_interval)).await.unwrap();
        pass(ms(11)).await;
        assert_survived(&view, &address, &handle, "planned panic in an interval").await;
    });
}

impl StreamHandler<u32> for Worker {
    fn handle(&mut self, item: u32, _: &mut Context<Self>) {
        assert!(item < 3, "planned panic in a stream");
    }

    /// Without this the actor stops when a stream of its ends.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

#[test]
fn survives_a_panic_in_a_stream_handler() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let add = |_: &mut Worker, context: &mut Context<Worker>| {
            context.add_stream(stream::iter(0..10));
        };
        address.send(Run::new(add)).await.unwrap();
        assert_survived(&view, &address, &handle, "planned panic in a stream").await;
    });
}

#[test]
fn survives_a_panic_in_the_stream_itself() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let add = |_: &mut Worker, context: &mut Context<Worker>| {
            context.add_stream(stream::poll_fn(|_| panic!("planned panic in polling a stream")));
        };
        address.send(Run::new(add)).await.unwrap();
        assert_survived(&view, &address, &handle, "planned panic in polling a stream").await;
    });
}

#[test]
fn survives_a_panic_in_a_future_given_to_the_context() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let spawn = |_: &mut Worker, context: &mut Context<Worker>| {
            context.spawn(async { panic!("planned panic in a future") }.into_actor_void());
        };
        address.send(Run::new(spawn)).await.unwrap();
        assert_survived(&view, &address, &handle, "planned panic in a future").await;
    });
}

#[test]
fn survives_a_panic_in_a_future_the_context_waits_for() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let wait = |_: &mut Worker, context: &mut Context<Worker>| {
            let after = async {
                tokio::time::sleep(ms(5)).await;
                panic!("planned panic in a wait");
            };
            context.wait(after.into_actor_void());
        };
        address.send(Run::new(wait)).await.unwrap();
        pass(ms(6)).await;
        assert_survived(&view, &address, &handle, "planned panic in a wait").await;
    });
}

#[test]
fn survives_a_panic_in_resume() {
    paused(async {
        let view = View::planned(Plan {
            resume_panics: 1,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        assert_survived(&view, &address, &handle, "planned panic in resume").await;
    });
}

/// `started` comes before the mailbox, so here the mailbox waits for the back-off too.
#[test]
fn survives_a_panic_in_started() {
    paused(async {
        let view = View::planned(Plan {
            started_panics: 1,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        let answer = actix::spawn(address.send(Ping));
        settle().await;
        assert_eq!(handle.phase(), Phase::BackingOff);
        assert_eq!(view.calls(), ["started", "restarting"]);
        pass(ms(99)).await;
        assert_eq!(view.calls(), ["started", "restarting"], "not before its time");
        pass(ms(2)).await;
        assert_eq!(
            view.calls(),
            ["started", "restarting", "started", "resume", "ping"]
        );
        assert_eq!(answer.await.unwrap(), Ok(1));
        assert_eq!(handle.phase(), Phase::Running);
        assert_eq!((handle.crashes(), handle.restarts()), (1, 1));
    });
}

#[test]
fn started_that_panics_again_and_again_backs_off() {
    paused(async {
        let view = View::planned(Plan {
            started_panics: 4,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        assert_eq!(address.send(Ping).await, Ok(1));
        assert_eq!(view.delays(), [ms(100), ms(200), ms(400), ms(800)]);
        assert_eq!((handle.crashes(), handle.restarts()), (4, 1));
    });
}

#[test]
fn survives_a_panic_in_restarting_and_throws_the_state_away_before_it_serves() {
    paused(async {
        let view = View::planned(Plan {
            restarting_panics: 2,
            ..Plan::default()
        });
        let (address, handle) = view.start(exact());
        assert_eq!(address.send(Ping).await, Ok(1));
        address.do_send(Run::panic());
        let answer = actix::spawn(address.send(Ping));
        settle().await;
        assert_eq!(handle.crashes(), 2, "the handler and restarting");
        assert_eq!(view.delays(), [ms(100), ms(200)]);
        assert_eq!(view.calls(), ["started", "resume", "ping", "restarting"]);
        pass(ms(201)).await;
        assert_eq!(handle.crashes(), 3);
        assert_eq!(view.delays(), [ms(100), ms(200), ms(400)]);
        pass(ms(401)).await;
        assert_eq!(answer.await.unwrap(), Ok(1), "the damaged state never served");
        assert_eq!(view.count("restarting"), 3);
        assert_eq!(handle.phase(), Phase::Running);
        assert_eq!(handle.restarts(), 1);
    });
}

#[test]
fn a_panic_in_the_drop_of_a_pending_future_is_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("planned panic in a drop");
            }
        }
    }
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        let spawn = |_: &mut Worker, context: &mut Context<Worker>| {
            let bomb = Bomb;
            let pending = async move {
                let _bomb = bomb;
                std::future::pending::<()>().await;
            };
            context.spawn(pending.into_actor_void());
        };
        address.send(Run::new(spawn)).await.unwrap();
        address.do_send(Run::panic());
        settle().await;
        assert_eq!(handle.last_crash().unwrap().message, "planned panic in a drop");
        assert_eq!(handle.crashes(), 2);
        assert_eq!(address.send(Ping).await, Ok(1));
        assert_eq!(handle.phase(), Phase::Running);
    });
}

#[test]
fn queued_messages_survive_in_order() {
    paused(async {
        let view = View::default();
        let (address, _handle) = view.start(exact());
        let order = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        for number in 0..100 {
            let order = order.clone();
            address.do_send(Run::new(move |_, _| {
                assert!(number != 30, "planned panic among others");
                order.lock().push(number);
            }));
        }
        settle().await;
        let expected: Vec<i32> = (0..100).filter(|number| *number != 30).collect();
        assert_eq!(*order.lock(), expected);
    });
}

/// A crash while it backs off: the mailbox is kept, untouched, until the longer back-off is over.
#[test]
fn a_crash_during_the_back_off_keeps_the_mailbox_waiting() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        address.do_send(Run::panic());
        address.do_send(Run::panic());
        let answer = actix::spawn(address.send(Ping));
        settle().await;
        assert_eq!(handle.crashes(), 2);
        assert_eq!(view.count("ping"), 0);
        pass(ms(199)).await;
        assert_eq!(view.count("ping"), 0);
        pass(ms(2)).await;
        assert_eq!(answer.await.unwrap(), Ok(1));
        assert_eq!(view.count("resume"), 2);
    });
}

#[test]
fn the_guard_of_the_message_that_panicked_reports() {
    paused(async {
        let view = View::default();
        let (address, _handle) = view.start(exact());
        let (guard, lost) = Guard::new();
        address.do_send(Poison(guard));
        assert!(!lost.load(Ordering::SeqCst));
        settle().await;
        assert!(lost.load(Ordering::SeqCst));
        assert_eq!(address.send(Ping).await, Ok(1));
    });
}

#[test]
fn the_events_tell_what_happened() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(exact());
        address.do_send(Run::panic());
        settle().await;
        pass(ms(101)).await;
        let events = view.events();
        let [
            EventKind::Crashed {
                crash,
                attempt: 1,
                delay,
            },
            EventKind::Restarted { reason, took },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(*delay, Some(ms(100)));
        assert_eq!(*reason, ExitReason::Panicked(crash.clone()));
        assert_eq!(*took, ms(101));
        let kept: Vec<EventKind> = handle
            .recent_events()
            .into_iter()
            .map(|event| event.kind)
            .collect();
        assert_eq!(kept, events);
    });
}

#[test]
fn events_read_well_and_serialize() {
    let crash = Crash {
        message: "boom".into(),
        location: Some("here.rs:1:2".into()),
    };
    let texts = [
        (ExitReason::Stopped, "stopped"),
        (
            ExitReason::Panicked(crash.clone()),
            "panicked: boom at here.rs:1:2",
        ),
        (
            ExitReason::Admin {
                by: "ann".into(),
                why: "odd".into(),
            },
            "restarted by ann: odd",
        ),
        (ExitReason::GaveUp, "gave up in quarantine"),
        (ExitReason::ArbiterStopped, "its arbiter stopped"),
    ];
    for (reason, text) in texts {
        assert_eq!(reason.to_string(), text);
    }
    let phases = [
        Phase::Starting,
        Phase::Running,
        Phase::BackingOff,
        Phase::Quarantined,
        Phase::Degraded,
        Phase::Stopped,
    ];
    for phase in phases {
        assert_eq!(
            serde_json::to_value(phase).unwrap(),
            phase.to_string(),
            "one spelling"
        );
    }
    let at = chrono::DateTime::from_timestamp(0, 0).unwrap();
    let path = ActorPath::new("root").child("shard-0");
    let json = |kind| {
        serde_json::to_value(SupervisionEvent {
            path: path.clone(),
            at,
            kind,
        })
        .unwrap()
    };
    assert_eq!(
        json(EventKind::Crashed {
            crash: crash.clone(),
            attempt: 3,
            delay: Some(ms(250))
        }),
        serde_json::json!({
            "path": "root/shard-0", "at": "1970-01-01T00:00:00Z", "kind": "crashed", "attempt": 3, "delay": 0.25,
            "crash": { "message": "boom", "location": "here.rs:1:2" },
        })
    );
    assert_eq!(
        json(EventKind::Restarted {
            reason: ExitReason::Stopped,
            took: ms(1_500)
        }),
        serde_json::json!({
            "path": "root/shard-0", "at": "1970-01-01T00:00:00Z", "kind": "restarted", "reason": "stopped",
            "took": 1.5,
        })
    );
}

#[test]
fn only_the_newest_events_are_kept() {
    paused(async {
        let view = View::default();
        let (address, handle) = view.start(Policy {
            exhausted: Exhausted::KeepTrying,
            ..exact()
        });
        for _ in 0..20 {
            address.do_send(Run::panic());
            tokio::time::sleep(ms(61_000)).await;
        }
        assert_eq!(view.events().len(), 40);
        let kept: Vec<EventKind> = handle
            .recent_events()
            .into_iter()
            .map(|event| event.kind)
            .collect();
        assert_eq!(kept, view.events()[24..]);
    });
}

#[test]
fn siblings_and_the_arbiter_live() {
    sensorhive::actors::supervision::install_panic_hook();
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let start = |name: &str, view: &View| {
            let spec = ActorSpec::new(ActorPath::new(name)).policy(exact());
            let view = view.clone();
            sensorhive::actors::supervision::start_in_arbiter(&arbiter.handle(), spec, move |_, _| {
                view.worker()
            })
        };
        let (calm, wild) = (View::default(), View::default());
        let (calm_address, calm_handle) = start("test/calm", &calm);
        let (wild_address, wild_handle) = start("test/wild", &wild);
        let plain = {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let view = View::default();
            arbiter.spawn_fn(move || drop(sender.send(view.worker().start())));
            receiver.await.unwrap()
        };
        for round in 1..=5 {
            let _ = wild_address.send(Run::panic()).await;
            assert_eq!(calm_address.send(Ping).await, Ok(round));
            assert_eq!(plain.send(Ping).await, Ok(round));
        }
        assert_eq!(wild_address.send(Ping).await, Ok(1));
        assert_eq!(wild_handle.crashes(), 5);
        assert_eq!(calm_handle.crashes(), 0);
        assert_eq!(
            calm.calls().iter().filter(|call| **call != "ping").count(),
            2,
            "started and resume only"
        );
        let (sender, receiver) = tokio::sync::oneshot::channel();
        arbiter.spawn(async { sender.send(()).unwrap() });
        receiver.await.unwrap();
        arbiter.stop();
    });
}

/// `into_actor` needs the actor to know its type.
trait IntoActorVoid: Future<Output = ()> + Sized + 'static {
    fn into_actor_void(self) -> impl ActorFuture<Worker, Output = ()> + 'static {
        actix::fut::wrap_future::<_, Worker>(self)
    }
}

impl<F: Future<Output = ()> + 'static> IntoActorVoid for F {}
