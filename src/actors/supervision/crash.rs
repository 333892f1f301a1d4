//! What a panic leaves behind: its message and where it happened.
//!
//! [`contain`] runs a closure and turns its panic into a [`Crash`]. The message is in the panic's payload; the location is
//! known only to the panic hook, so [`install_panic_hook`] puts a hook in place that hands it over through a thread-local.
//! Without the hook everything works, and crashes have no location.
//!
//! Panics inside [`contain`] are silent: who contains them logs them, once, with what only it knows. All others are logged by
//! the hook, or printed by the hook that was there before while no log takes them, so that none is swallowed.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use serde::Serialize;

/// A panic message is kept up to this many bytes: it may quote a whole payload.
const MESSAGE_LIMIT: usize = 1024;

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Crash {
    /// The panic's message, at most 1,024 bytes of it.
    pub message: String,
    /// `file:line:column`, known if the hook is installed and the panic was not resumed from another.
    pub location: Option<String>,
}

impl Crash {
    pub fn new(message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
        Self {
            message,
            location: None,
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.location {
            Some(location) => write!(f, " at {location}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Crash {}

/// Runs `work`; its panic becomes an error.
///
/// What `work` had borrowed may be left half-changed: the caller throws it away or knows that it is whole.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Crash> {
    let depth = DEPTH.get() + 1;
    DEPTH.set(depth);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(depth - 1);
    outcome.map_err(|payload| {
        let crash = match payload.downcast_ref::<Crash>() {
            Some(relayed) => relayed.clone(),
            None => {
                let mut crash = Crash::new(message_of(&*payload));
                crash.location = recorded_location(depth, &crash.message);
                crash
            }
        };
        // A payload can be any value, and its own drop can panic.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        crash
    })
}

/// Goes on with a panic that was contained elsewhere on its way to whom it concerns.
pub fn relay(crash: Crash) -> ! {
    std::panic::resume_unwind(Box::new(crash))
}

/// The panic that is unwinding this thread right now, for a guard that reports from its drop. Known if the hook is installed
/// and [`contain`] is waiting below.
pub fn unwinding() -> Option<Crash> {
    if !std::thread::panicking() {
        return None;
    }
    RECORDED
        .try_with(|recorded| {
            recorded
                .try_borrow()
                .ok()?
                .get(DEPTH.get().checked_sub(1)?)?
                .clone()
        })
        .ok()
        .flatten()
}

/// Replaces the process's panic hook, once; later calls do nothing.
pub fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            let depth = DEPTH.get();
            if depth > 0 {
                record(depth, info);
            } else if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!(
                    message_text = info.payload_as_str().unwrap_or(NO_MESSAGE),
                    location = info.location().map(tracing::field::display),
                    thread = std::thread::current().name(),
                    "panicked"
                );
            } else {
                previous(info);
            }
        }));
    });
}

const NO_MESSAGE: &str = "panic without a message";

thread_local! {
    /// How many `contain` calls this thread is inside.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Crashes on their way from the hook to `contain`, one a depth: a destructor that runs while a panic unwinds may itself
    /// contain another one.
    static RECORDED: RefCell<Vec<Option<Crash>>> = const { RefCell::new(Vec::new()) };
}

/// Runs inside the hook, so it must not panic.
fn record(depth: usize, info: &PanicHookInfo<'_>) {
    let mut crash = Crash::new(message_of(info.payload()));
    crash.location = info.location().map(ToString::to_string);
    let _ = RECORDED.try_with(|recorded| {
        if let Ok(mut recorded) = recorded.try_borrow_mut() {
            recorded.resize(depth, None);
            recorded[depth - 1] = Some(crash);
        }
    });
}

/// A record left by a panic that something else caught does not have our message.
fn recorded_location(depth: usize, message: &str) -> Option<String> {
    let crash = RECORDED.try_with(|recorded| recorded.try_borrow_mut().ok()?.get_mut(depth - 1)?.take());
    crash.ok()?.filter(|crash| crash.message == message)?.location
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or(NO_MESSAGE)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    /// Keeps what it learned when it was dropped.
    struct Guard(Rc<RefCell<Option<Crash>>>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.replace(unwinding());
        }
    }

    #[test]
    fn a_guard_learns_which_panic_drops_it() {
        install_panic_hook();
        let learned: Rc<RefCell<Option<Crash>>> = Rc::default();
        let crash = contain(|| -> () {
            let _guard = Guard(learned.clone());
            panic!("while it was held");
        })
        .unwrap_err();
        assert_eq!(learned.take().as_ref(), Some(&crash));
        assert!(crash.location.is_some());
        contain(|| drop(Guard(learned.clone()))).unwrap();
        assert_eq!((learned.take(), unwinding()), (None, None));
    }

    #[test]
    fn a_relayed_panic_is_still_the_first_one() {
        install_panic_hook();
        let crash = contain(|| -> () { panic!("first") }).unwrap_err();
        assert!(crash.location.as_ref().is_some_and(|at| at.contains("crash.rs")));
        let relayed = contain(|| -> () { relay(crash.clone()) }).unwrap_err();
        assert_eq!(relayed, crash);
    }
}
