//! One JSON object answered: as one canonical reading, as one reading for each metric of a flat object, or as refusals.
//!
//! Invariants: an object is answered at least once. A known field that comes twice is refused, because which one was
//! meant cannot be known; a metric that comes twice is two readings.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::{Fields, MAX_FLAT_METRICS};
use super::json::JsonMapping;
use super::scalar::Scalar;
use super::{Draft, Hints, RawTags, Refusal, Sink, time_unit};
use crate::domain::{IdError, MetricName, Quality, RejectReason, SensorId, Timestamp};

/// The longest unit, in bytes.
pub const MAX_UNIT_BYTES: usize = 64;

/// An object's place in its payload, its bytes, and what is known of the payload.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub item: u32,
    pub payload: &'a [u8],
    pub hints: Hints<'a>,
}

impl<'a> Place<'a> {
    pub fn refuse(self, fault: Fault<'a>, sensor: Option<Cow<'a, str>>) -> Refusal<'a> {
        fault.refusal(self.item, sensor, Cow::Borrowed(self.payload))
    }
}

/// Gives `sink` everything the object at `place` holds.
pub(super) fn answer<'a, S: Sink<'a> + ?Sized>(
    fields: &mut Fields<'a>,
    place: Place<'a>,
    mapping: &'a JsonMapping,
    sink: &mut S,
) {
    let sensor = match sensor(fields, place.hints, mapping) {
        Ok(sensor) => sensor,
        Err(fault) => return sink.refuse(place.refuse(fault, None)),
    };
    let answered = if fields.is_canonical() {
        canonical(fields, sensor.clone(), place, mapping).map(|draft| sink.reading(draft))
    } else {
        answer_flat(fields, sensor.clone(), place, sink)
    };
    if let Err(fault) = answered {
        sink.refuse(place.refuse(fault, Some(sensor)));
    }
}

fn canonical<'a>(
    fields: &mut Fields<'a>,
    sensor: Cow<'a, str>,
    place: Place<'a>,
    mapping: &'a JsonMapping,
) -> Result<Draft<'a>, Fault<'a>> {
    Ok(Draft {
        sensor,
        metric: metric(fields, place.hints, mapping)?,
        value: canonical_value(fields)?,
        time: time(&fields.time)?,
        unit: unit("unit", std::mem::take(&mut fields.unit))?,
        quality: quality("quality", &fields.quality)?,
        tags: tags(fields.tags)?,
        item: place.item,
    })
}

/// One answer for each metric, all with the same time, quality and tags. A unit cannot belong to all of them.
fn answer_flat<'a, S: Sink<'a> + ?Sized>(
    fields: &mut Fields<'a>,
    sensor: Cow<'a, str>,
    place: Place<'a>,
    sink: &mut S,
) -> Result<(), Fault<'a>> {
    let (time, quality, tags) = (
        time(&fields.time)?,
        quality("quality", &fields.quality)?,
        tags(fields.tags)?,
    );
    if fields.metrics.is_empty() {
        let reason = "has no reading: neither `value` nor another field that is a number or a boolean";
        return Err(Fault::new("item", reason.to_owned()));
    }
    if fields.metrics.len() > MAX_FLAT_METRICS {
        let reason = format!("has more than {MAX_FLAT_METRICS} metrics");
        return Err(Fault::limit("item", reason));
    }
    for (name, scalar) in fields.metrics.drain(..) {
        match flat_value(&name, &scalar) {
            Ok(value) => sink.reading(Draft {
                sensor: sensor.clone(),
                metric: name,
                value,
                time,
                unit: None,
                quality,
                tags: tags.clone(),
                item: place.item,
            }),
            Err(reason) => sink.refuse(place.refuse(Fault::new(name, reason), Some(sensor.clone()))),
        }
    }
    Ok(())
}

/// Why a payload, an object, or a field of it is no reading.
pub(super) struct Fault<'a> {
    field: Cow<'a, str>,
    reason: String,
    kind: RejectReason,
}

impl<'a> Fault<'a> {
    pub fn new(field: impl Into<Cow<'a, str>>, reason: String) -> Self {
        Fault {
            field: field.into(),
            reason,
            kind: RejectReason::Invalid,
        }
    }

    pub fn limit(field: &'static str, reason: String) -> Self {
        Fault {
            kind: RejectReason::LimitReached,
            ..Fault::new(field, reason)
        }
    }

    pub fn undecodable(field: &'a str, reason: String) -> Self {
        Fault {
            kind: RejectReason::Undecodable,
            ..Fault::new(field, reason)
        }
    }

    pub fn wrong(field: &'a str, is: &Scalar<'_>, must_be: &str) -> Self {
        Fault::new(field, format!("{}, must be {must_be}", is.described()))
    }

    pub fn refusal(self, item: u32, sensor: Option<Cow<'a, str>>, payload: Cow<'a, [u8]>) -> Refusal<'a> {
        Refusal {
            item,
            field: self.field,
            reason: self.reason,
            kind: self.kind,
            sensor,
            payload,
        }
    }
}

/// The sensor of what names none; `field` is where it would be named.
pub(super) fn unnamed_sensor<'a>(
    field: &'a str,
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
) -> Result<Cow<'a, str>, Fault<'a>> {
    let default = mapping.default_sensor.as_ref().map(SensorId::as_str);
    unnamed(field, hints.sensor, default, SensorId::check)
}

/// As [`unnamed_sensor`], for the metric.
pub(super) fn unnamed_metric<'a>(
    field: &'a str,
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
) -> Result<Cow<'a, str>, Fault<'a>> {
    let default = mapping.default_metric.as_ref().map(MetricName::as_str);
    unnamed(field, hints.metric, default, MetricName::check)
}

fn sensor<'a>(
    fields: &mut Fields<'a>,
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
) -> Result<Cow<'a, str>, Fault<'a>> {
    if let Some(field) = fields.twice {
        return Err(Fault::new(field, "is given more than once".to_owned()));
    }
    match named("sensor_id", std::mem::take(&mut fields.sensor), SensorId::check)? {
        Some(id) => Ok(id),
        None => unnamed_sensor("sensor_id", hints, mapping),
    }
}

fn metric<'a>(
    fields: &mut Fields<'a>,
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
) -> Result<Cow<'a, str>, Fault<'a>> {
    match named("metric", std::mem::take(&mut fields.metric), MetricName::check)? {
        Some(name) => Ok(name),
        None => unnamed_metric("metric", hints, mapping),
    }
}

fn canonical_value<'a>(fields: &Fields<'a>) -> Result<f64, Fault<'a>> {
    match value(&fields.value) {
        Some(value) => Ok(value),
        None if !fields.has_value() => Err(Fault::new("value", "is missing".to_owned())),
        None => Err(Fault::wrong(
            "value",
            &fields.value,
            "a finite number or a boolean",
        )),
    }
}

fn named<'a>(
    field: &'a str,
    scalar: Scalar<'a>,
    check: fn(&str) -> Result<(), IdError>,
) -> Result<Option<Cow<'a, str>>, Fault<'a>> {
    match scalar {
        Scalar::Text(name) => match check(&name) {
            Ok(()) => Ok(Some(name)),
            Err(error) => Err(Fault::new(field, error.to_string())),
        },
        Scalar::Null => Ok(None),
        other => Err(Fault::wrong(field, &other, "text")),
    }
}

/// A default was checked with the settings; a hint comes from outside.
fn unnamed<'a>(
    field: &'a str,
    hint: Option<&'a str>,
    default: Option<&'a str>,
    check: fn(&str) -> Result<(), IdError>,
) -> Result<Cow<'a, str>, Fault<'a>> {
    match (hint, default) {
        (Some(name), _) => match check(name) {
            Ok(()) => Ok(Cow::Borrowed(name)),
            Err(error) => Err(Fault::new(
                field,
                format!("{error}; it comes from the key or topic"),
            )),
        },
        (None, Some(default)) => Ok(Cow::Borrowed(default)),
        (None, None) => Err(Fault::new(field, "is missing".to_owned())),
    }
}

pub(super) fn value(scalar: &Scalar<'_>) -> Option<f64> {
    match *scalar {
        Scalar::Integer(value) => Some(value as f64),
        Scalar::Float(value) => Some(value),
        Scalar::Bool(value) => Some(f64::from(u8::from(value))),
        _ => None,
    }
}

fn flat_value(name: &str, scalar: &Scalar<'_>) -> Result<f64, String> {
    MetricName::check(name).map_err(|error| format!("is no name of a metric: it {error}"))?;
    value(scalar).ok_or_else(|| scalar.described().to_owned())
}

fn time<'a>(scalar: &Scalar<'_>) -> Result<Option<Timestamp>, Fault<'a>> {
    time_unit::told_by_size(scalar).map_err(|error| Fault::new("timestamp", error.to_string()))
}

pub(super) fn unit<'a>(field: &'a str, scalar: Scalar<'a>) -> Result<Option<Cow<'a, str>>, Fault<'a>> {
    match scalar {
        Scalar::Null => Ok(None),
        Scalar::Text(unit) if unit.is_empty() => Ok(None),
        Scalar::Text(unit) if unit.len() > MAX_UNIT_BYTES => {
            let reason = format!(
                "is {} bytes long, at most {MAX_UNIT_BYTES} are allowed",
                unit.len()
            );
            Err(Fault::new(field, reason))
        }
        Scalar::Text(unit) if unit.chars().any(char::is_control) => {
            Err(Fault::new(field, "has a control character".to_owned()))
        }
        Scalar::Text(unit) => Ok(Some(unit)),
        other => Err(Fault::wrong(field, &other, "text")),
    }
}

pub(super) fn quality<'a>(field: &'a str, scalar: &Scalar<'_>) -> Result<Quality, Fault<'a>> {
    match scalar {
        Scalar::Null => Ok(Quality::Good),
        Scalar::Text(word) if word == "good" => Ok(Quality::Good),
        Scalar::Text(word) if word == "uncertain" => Ok(Quality::Uncertain),
        Scalar::Text(word) if word == "bad" => Ok(Quality::Bad),
        _ => Err(Fault::new(
            field,
            "must be `good`, `uncertain` or `bad`".to_owned(),
        )),
    }
}

fn tags(raw: Option<&RawValue>) -> Result<Option<RawTags<'_>>, Fault<'_>> {
    match raw {
        None => Ok(None),
        Some(raw) if raw.get() == "null" => Ok(None),
        Some(raw) => match RawTags::check(raw) {
            Ok(tags) => Ok(Some(tags)),
            Err(reason) => Err(Fault::new("tags", reason)),
        },
    }
}
