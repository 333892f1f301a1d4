//! What a detector found.

use serde::{Deserialize, Serialize};

use super::{SeriesId, Timestamp};

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    pub const ALL: [Level; 4] = [Level::Info, Level::Warning, Level::Error, Level::Critical];

    pub fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Critical => "critical",
        }
    }

    pub fn parse(text: &str) -> Option<Level> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DetectorKind {
    Jump,
    Threshold,
    Silence,
    Ensemble,
    Rate,
    Stuck,
    #[serde(rename = "z_score")]
    ZScore,
    Ewma,
    Hampel,
    Seasonal,
    Shift,
}

impl DetectorKind {
    pub const ALL: [DetectorKind; 11] = [
        DetectorKind::Jump,
        DetectorKind::Threshold,
        DetectorKind::Silence,
        DetectorKind::Ensemble,
        DetectorKind::Rate,
        DetectorKind::Stuck,
        DetectorKind::ZScore,
        DetectorKind::Ewma,
        DetectorKind::Hampel,
        DetectorKind::Seasonal,
        DetectorKind::Shift,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            DetectorKind::Jump => "jump",
            DetectorKind::Threshold => "threshold",
            DetectorKind::Silence => "silence",
            DetectorKind::Ensemble => "ensemble",
            DetectorKind::Rate => "rate",
            DetectorKind::Stuck => "stuck",
            DetectorKind::ZScore => "z_score",
            DetectorKind::Ewma => "ewma",
            DetectorKind::Hampel => "hampel",
            DetectorKind::Seasonal => "seasonal",
            DetectorKind::Shift => "shift",
        }
    }

    pub fn parse(text: &str) -> Option<DetectorKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Where the detector expected the value to be. A side without a limit is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Band {
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// One finding. `score` is in 0..=1. `explanation` is a sentence for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    pub series: SeriesId,
    /// Event time of the reading; for silence, the event time of the last reading plus the allowed silence.
    pub time: Timestamp,
    /// The value; for silence, the last one heard.
    pub value: f64,
    pub detector: DetectorKind,
    pub level: Level,
    pub score: f64,
    pub expected: Option<f64>,
    pub band: Band,
    pub explanation: String,
}
