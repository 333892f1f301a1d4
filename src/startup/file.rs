//! From the settings of a source of files to what it is told.

use std::sync::Arc;

use crate::actors::ingest::IntakeSettings;
use crate::actors::ingest::file::{FileOptions, TailOptions};
use crate::decode::Format;
use crate::settings::{FileBegin, FileFormat, FileSettings, PayloadSettings, Settings};

pub(super) fn options(file: &FileSettings, settings: &Settings) -> FileOptions {
    FileOptions {
        tail: TailOptions {
            pattern: file.path.clone(),
            max_line: usize::try_from(settings.limits.payload).unwrap_or(usize::MAX),
            csv: match format(file) {
                Format::Csv(csv) => Some(csv),
                Format::Json | Format::Lines(_) => None,
            },
        },
        at_end: file.begin == FileBegin::End,
        interval: file.interval,
        forget_after: file.forget_after,
    }
}

/// Its way in: as that of any source, with what its lines mean.
pub(super) fn intake(file: &FileSettings, intakes: &IntakeSettings) -> IntakeSettings {
    let mut intake = intakes.clone();
    let payload = PayloadSettings {
        default_sensor: file.default_sensor.as_ref(),
        default_metric: file.default_metric.as_ref(),
        mapping: file.mapping.as_ref(),
        topics: &[],
    };
    intake.mapping = payload.json(intake.mapping.max_items);
    intake.mapping.format = format(file);
    intake
}

fn format(file: &FileSettings) -> Format {
    match file.format {
        FileFormat::Json => Format::Json,
        FileFormat::Lines => Format::Lines(file.precision.into()),
        FileFormat::Csv => Format::Csv(Arc::new(file.csv.clone().unwrap_or_default().mapping())),
    }
}
