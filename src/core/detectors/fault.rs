//! Fault: panics on command, so that tests can see what a panic does to the real binary.
//!
//! Invariant: compiled only with the feature `faults`.

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Seen};
use crate::core::config::DetectorSpec;
use crate::domain::Anomaly;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Fault {
    panic_above: f64,
}

impl Fault {
    pub(super) fn new(panic_above: f64) -> Self {
        Fault { panic_above }
    }
}

impl Detect for Fault {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Fault {
            panic_above: self.panic_above,
        }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        assert!(
            seen.value <= self.panic_above,
            "fault: {} is above {}",
            seen.value,
            self.panic_above
        );
        None
    }

    fn state(&self) -> DetectorState {
        DetectorState::Fault
    }

    fn is_sound(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    #[test]
    fn up_to_its_limit_it_is_quiet() {
        assert_eq!(Fault::new(5.0).observe(&seen(0, 5.0)), None);
        assert!(Fault::new(5.0).is_sound());
    }

    #[test]
    #[should_panic(expected = "fault: 5.5 is above 5")]
    fn above_its_limit_it_panics() {
        Fault::new(5.0).observe(&seen(0, 5.5));
    }
}
