//! The home of a sensor: what its readings come through, and therefore who has its state.
//!
//! Invariant: two homes are the same if their texts are. The text is for the database; no name has a control character, so that
//! homes of different kinds, sources and partitions never share one.

use std::fmt;
use std::sync::Arc;

use super::SourceName;

const BETWEEN: char = '\u{1f}';

/// A partition of a source, an instance of the service, or several of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Home(Arc<str>);

impl Home {
    /// For sensors whose readings come through a partition that one instance at a time has.
    pub fn partition(source: &SourceName, partition: &str) -> Self {
        Self(format!("{source}{BETWEEN}{partition}").into())
    }

    /// For sensors that one instance alone can have, such as the machine that it runs on.
    pub fn instance(name: &str) -> Self {
        Self(format!("{BETWEEN}{name}").into())
    }

    /// For sensors that were heard through more than one home, so that nobody has all of their readings.
    pub fn several() -> Self {
        Self("*".into())
    }

    /// What [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Self {
        Self(text.into())
    }

    pub fn is_partition(&self) -> bool {
        self.0.find(BETWEEN).is_some_and(|at| at > 0)
    }

    /// Whether it is a partition of that source.
    pub fn is_of(&self, source: &SourceName) -> bool {
        let name = self.0.split_once(BETWEEN).map(|(name, _)| name);
        name == Some(source.as_str())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once(BETWEEN) {
            Some(("", instance)) => write!(f, "instance {instance}"),
            Some((source, partition)) => write!(f, "partition {partition} of {source}"),
            None => f.write_str("several"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_different_kinds_differ() {
        let source = |name| SourceName::parse(name).unwrap();
        let homes = [
            Home::partition(&source("a"), "b/c"),
            Home::partition(&source("a/b"), "c"),
            Home::partition(&source("*"), ""),
            Home::instance("a"),
            Home::instance("*"),
            Home::several(),
        ];
        for (n, home) in homes.iter().enumerate() {
            assert!(!homes[..n].contains(home), "{home:?}");
            assert_eq!(Home::parse(home.as_str()), *home);
        }
        assert_eq!(homes[0].to_string(), "partition b/c of a");
        let of_a: Vec<bool> = homes.iter().map(|home| home.is_of(&source("a"))).collect();
        assert_eq!(of_a, [true, false, false, false, false, false]);
    }
}
