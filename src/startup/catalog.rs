//! What each series is watched with, by the settings.
//!
//! Invariants: the first entry that matches decides on windows and detectors, and every rule that matches watches. Series that are
//! watched alike share one configuration.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::actors::registry::Registry;
use crate::actors::shard::env::Catalog;
use crate::core::{DetectorSpec, RuleSpec, SeriesConfig, WindowSpec};
use crate::domain::{Micros, SeriesId};
use crate::settings::{DetectorSettings, RuleSettings, SeriesMatch, SeriesSettings, SeriesTable};

pub struct SettingsCatalog {
    registry: Arc<Registry>,
    entries: Vec<(SeriesMatch, Arc<SeriesConfig>)>,
    otherwise: Arc<SeriesConfig>,
    rules: Vec<(SeriesMatch, Arc<RuleSpec>)>,
    /// Each that a series has had, by the places of entry and rules.
    watched: RwLock<FxHashMap<Places, Arc<SeriesConfig>>>,
}

/// Of the entry and the rules of a series.
type Places = (Option<usize>, Vec<usize>);

impl SettingsCatalog {
    pub fn new(table: &SeriesTable, rules: &[RuleSettings], registry: Arc<Registry>) -> Self {
        let entries = table.entries.iter();
        Self {
            registry,
            entries: entries
                .map(|entry| (entry.matches.clone(), Arc::new(config(entry))))
                .collect(),
            otherwise: Arc::new(config(&SeriesSettings::default())),
            rules: in_force(rules)
                .map(|rule| (rule.matches.clone(), Arc::new(rule.spec())))
                .collect(),
            watched: RwLock::default(),
        }
    }
}

impl Catalog for SettingsCatalog {
    fn config(&self, series: SeriesId) -> Arc<SeriesConfig> {
        let Some((sensor, metric, tags)) = self.registry.naming(series) else {
            return self.otherwise.clone();
        };
        let accepts = |matches: &SeriesMatch| matches.accepts(sensor.as_str(), metric.as_str(), &tags);
        let entry = self.entries.iter().position(|(matches, _)| accepts(matches));
        let rules = self.rules.iter().enumerate();
        let rules: Vec<usize> = rules
            .filter(|(_, (matches, _))| accepts(matches))
            .map(|(place, _)| place)
            .collect();
        let plain = entry.map_or(&self.otherwise, |entry| &self.entries[entry].1);
        if rules.is_empty() {
            return plain.clone();
        }
        let key = (entry, rules);
        if let Some(known) = self.watched.read().get(&key) {
            return known.clone();
        }
        let config = Arc::new(SeriesConfig {
            rules: key.1.iter().map(|rule| self.rules[*rule].1.clone()).collect(),
            ..plain.as_ref().clone()
        });
        self.watched.write().entry(key).or_insert(config).clone()
    }
}

/// The first of each name, if it is not switched off.
fn in_force(rules: &[RuleSettings]) -> impl Iterator<Item = &RuleSettings> {
    let first = |place: usize| {
        !rules[..place]
            .iter()
            .any(|before| before.name == rules[place].name)
    };
    (0..rules.len())
        .filter(move |place| first(*place) && rules[*place].enabled)
        .map(|place| &rules[place])
}

fn config(settings: &SeriesSettings) -> SeriesConfig {
    SeriesConfig {
        windows: settings
            .windows
            .iter()
            .map(|size| WindowSpec::Tumbling { size: micros(*size) })
            .collect(),
        lateness: micros(settings.lateness),
        idle_after: micros(settings.idle_after),
        ring: SeriesConfig::default().ring,
        detectors: settings.detectors.iter().map(detector).collect(),
        rules: Vec::new(),
    }
}

fn detector(settings: &DetectorSettings) -> DetectorSpec {
    match *settings {
        DetectorSettings::Jump { threshold } => DetectorSpec::Jump { threshold },
        DetectorSettings::Threshold { above } => DetectorSpec::Threshold { above },
        DetectorSettings::Silence { after } => DetectorSpec::Silence { after: micros(after) },
        DetectorSettings::Ensemble {} => DetectorSpec::Ensemble {},
        DetectorSettings::Rate { above, per } => DetectorSpec::Rate {
            above,
            per: micros(per),
        },
        DetectorSettings::Stuck { after, within } => DetectorSpec::Stuck {
            after: micros(after),
            within,
        },
        DetectorSettings::ZScore { above, window } => DetectorSpec::ZScore { above, window },
        DetectorSettings::Ewma { above, span } => DetectorSpec::Ewma { above, span },
        DetectorSettings::Hampel { above, window } => DetectorSpec::Hampel { above, window },
        DetectorSettings::Seasonal { above, season } => DetectorSpec::Seasonal { above, season },
        DetectorSettings::Shift { above, span } => DetectorSpec::Shift { above, span },
        #[cfg(feature = "faults")]
        DetectorSettings::Fault { panic_above } => DetectorSpec::Fault { panic_above },
    }
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
