//! What each series is watched with, by the settings.
//!
//! Invariant: the first entry that matches decides; series that are watched alike share one configuration.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::registry::Registry;
use crate::actors::shard::env::Catalog;
use crate::core::{DetectorSpec, SeriesConfig, WindowSpec};
use crate::domain::{Micros, SeriesId};
use crate::settings::{DetectorSettings, SeriesMatch, SeriesSettings, SeriesTable};

pub struct SettingsCatalog {
    registry: Arc<Registry>,
    entries: Vec<(SeriesMatch, Arc<SeriesConfig>)>,
    otherwise: Arc<SeriesConfig>,
}

impl SettingsCatalog {
    pub fn new(table: &SeriesTable, registry: Arc<Registry>) -> Self {
        let entries = table.entries.iter();
        Self {
            registry,
            entries: entries
                .map(|entry| (entry.matches.clone(), Arc::new(config(entry))))
                .collect(),
            otherwise: Arc::new(config(&SeriesSettings::default())),
        }
    }
}

impl Catalog for SettingsCatalog {
    fn config(&self, series: SeriesId) -> Arc<SeriesConfig> {
        let Some((sensor, metric, tags)) = self.registry.naming(series) else {
            return self.otherwise.clone();
        };
        let entry = self
            .entries
            .iter()
            .find(|(matches, _)| matches.accepts(sensor.as_str(), metric.as_str(), &tags));
        entry.map_or_else(|| self.otherwise.clone(), |(_, config)| config.clone())
    }
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
    }
}

fn detector(settings: &DetectorSettings) -> DetectorSpec {
    match *settings {
        DetectorSettings::Jump { threshold } => DetectorSpec::Jump { threshold },
        DetectorSettings::Threshold { above } => DetectorSpec::Threshold { above },
        DetectorSettings::Silence { after } => DetectorSpec::Silence { after: micros(after) },
        #[cfg(feature = "faults")]
        DetectorSettings::Fault { panic_above } => DetectorSpec::Fault { panic_above },
    }
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
