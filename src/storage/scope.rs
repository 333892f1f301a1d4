//! Which sensors a question is about.

use crate::domain::{Home, SensorId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    All,
    Homes(Vec<Home>),
    Named(Vec<SensorId>),
}

impl Scope {
    /// The homes and the names, for a condition that holds where the list is null or contains what a sensor has.
    pub(super) fn lists(&self) -> (Option<Vec<&str>>, Option<Vec<&str>>) {
        match self {
            Scope::All => (None, None),
            Scope::Homes(homes) => (Some(homes.iter().map(Home::as_str).collect()), None),
            Scope::Named(names) => (None, Some(names.iter().map(SensorId::as_str).collect())),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Scope::All => false,
            Scope::Homes(homes) => homes.is_empty(),
            Scope::Named(names) => names.is_empty(),
        }
    }
}
