//! Catching panics: what is known of them, and that none is swallowed.

use std::panic::{catch_unwind, panic_any, resume_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use sensorhive::actors::supervision::{Crash, contain, install_panic_hook};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::SubscriberExt;

#[test]
fn contain_gives_the_value_or_the_crash() {
    install_panic_hook();
    assert_eq!(contain(|| 7), Ok(7));
    let line = line!() + 1;
    let crash = contain(|| -> u32 { panic!("number {}", 7) }).unwrap_err();
    assert_eq!(crash.message, "number 7");
    let location = crash.location.clone().unwrap();
    assert!(
        location.starts_with(&format!("{}:{line}:", file!())),
        "{location}"
    );
    assert_eq!(crash.to_string(), format!("number 7 at {location}"));
}

#[test]
fn contain_knows_each_panic_apart() {
    install_panic_hook();
    let outer = contain(|| {
        let inner = contain(|| panic!("inner")).unwrap_err();
        assert_eq!(inner.message, "inner");
        panic!("outer");
    })
    .map(|(): ()| ())
    .unwrap_err();
    assert_eq!(outer.message, "outer");
    assert!(outer.location.is_some());
    assert_eq!(contain(|| 1), Ok(1));
}

/// A destructor that contains a panic of its own while the outer one unwinds.
#[test]
fn a_panic_contained_while_another_unwinds_does_not_hide_it() {
    install_panic_hook();
    struct Cleanup(Arc<Mutex<Option<Crash>>>);
    impl Drop for Cleanup {
        fn drop(&mut self) {
            *self.0.lock() = contain(|| panic!("in the cleanup")).err();
        }
    }
    let seen = Arc::new(Mutex::new(None));
    let cleanup = Cleanup(seen.clone());
    let line = line!() + 3;
    let crash = contain(move || {
        let _cleanup = cleanup;
        panic!("the cause");
    })
    .map(|(): ()| ())
    .unwrap_err();
    assert_eq!(crash.message, "the cause");
    assert!(crash.location.unwrap().contains(&format!(":{line}:")));
    assert_eq!(seen.lock().as_ref().unwrap().message, "in the cleanup");
}

#[test]
fn a_resumed_panic_has_no_location_and_not_that_of_an_earlier_one() {
    install_panic_hook();
    let crash = contain(|| {
        let _ = catch_unwind(|| panic!("caught by somebody else"));
        resume_unwind(Box::new("resumed"));
    })
    .map(|(): ()| ())
    .unwrap_err();
    assert_eq!(
        crash,
        Crash {
            message: "resumed".into(),
            location: None
        }
    );
}

#[test]
fn a_payload_can_be_anything() {
    install_panic_hook();
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("planned panic in the payload's drop");
        }
    }
    let crash = contain(|| panic_any(42)).map(|(): ()| ()).unwrap_err();
    assert_eq!(crash.message, "panic without a message");
    assert!(crash.location.is_some());
    let crash = contain(|| panic_any(Bomb)).map(|(): ()| ()).unwrap_err();
    assert_eq!(crash.message, "panic without a message");
}

#[test]
fn a_message_is_kept_up_to_its_limit() {
    install_panic_hook();
    let crash = contain(|| panic!("{}", "ä".repeat(100_000)))
        .map(|(): ()| ())
        .unwrap_err();
    assert_eq!(crash.message, "ä".repeat(512));
    let crash = contain(|| panic!("x{}", "ä".repeat(100_000)))
        .map(|(): ()| ())
        .unwrap_err();
    assert_eq!(crash.message.len(), 1023, "never within a character");
    assert!(crash.location.is_some());
}

/// Collects the fields of every event of its thread.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Collector {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{}={value:?} ", field.name());
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().push(text.0);
    }
}

#[test]
fn a_panic_outside_is_logged_once_and_one_inside_by_who_contains_it() {
    install_panic_hook();
    let collector = Collector::default();
    let subscriber = tracing_subscriber::registry().with(collector.clone());
    tracing::subscriber::with_default(subscriber, || {
        let _ = contain(|| panic!("somebody contains this"));
        let _ = contain(|| contain(|| panic!("somebody contains this too")));
        let _ = catch_unwind(|| panic!("nobody contains this"));
    });
    let logged = collector.0.lock().clone();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].contains("message=panicked"), "{logged:?}");
    assert!(logged[0].contains("nobody contains this"), "{logged:?}");
    assert!(logged[0].contains("containment.rs:"), "{logged:?}");
}

#[test]
fn a_crash_of_an_actor_is_logged_once_with_its_path() {
    let collector = Collector::default();
    let subscriber = tracing_subscriber::registry().with(collector.clone());
    tracing::subscriber::with_default(subscriber, || {
        crate::worker::paused(async {
            let view = crate::worker::View::default();
            let (address, _handle) = view.start(crate::worker::exact());
            let _ = address.send(crate::worker::Run::panic()).await;
            crate::worker::settle().await;
        });
    });
    let logged = collector.0.lock().clone();
    let crashes: Vec<&String> = logged
        .iter()
        .filter(|line| line.contains("planned panic"))
        .collect();
    assert_eq!(crashes.len(), 1, "{logged:?}");
    assert!(
        crashes[0].contains("test/worker") && crashes[0].contains("delay_ms=100"),
        "{crashes:?}"
    );
}
