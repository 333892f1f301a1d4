//! What payloads are written in, and who reads them.

use std::sync::Arc;

use super::csv::{self, CsvMapping};
use super::{Hints, JsonMapping, Sink, TimeUnit, decode_json, lines};

/// The form of a source's payloads.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Format {
    #[default]
    Json,
    /// Line protocol, and what its times count.
    Lines(TimeUnit),
    /// A table.
    Csv(Arc<CsvMapping>),
}

/// Gives `sink` every reading and every refusal of `payload`, in its order.
pub fn decode<'a, S: Sink<'a> + ?Sized>(
    payload: &'a [u8],
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
    sink: &mut S,
) {
    match &mapping.format {
        Format::Json => decode_json(payload, hints, mapping, sink),
        Format::Lines(unit) => lines::decode(payload, *unit, mapping, sink),
        Format::Csv(csv) => csv::decode(payload, hints, csv, mapping, sink),
    }
}
