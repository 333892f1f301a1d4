//! A payload that is nothing but a value: `21.5`, `true`. Whose it is has to be known from elsewhere.

use super::item::{self, Fault};
use super::json::JsonMapping;
use super::scalar::Scalar;
use super::{Draft, Hints, Sink};
use crate::domain::Quality;

/// Gives `sink` the one reading that `text` is: a number or a boolean, perhaps in quotes.
pub(super) fn answer<'a, S: Sink<'a> + ?Sized>(
    text: &'a str,
    hints: Hints<'a>,
    mapping: &'a JsonMapping,
    sink: &mut S,
) -> Result<(), Fault<'a>> {
    let text = text.trim_ascii();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let Some(scalar) = Scalar::of_text(quoted.unwrap_or(text)) else {
        let reason = "is neither an object nor an array, nor a number or a boolean";
        return Err(Fault::undecodable("payload", reason.to_owned()));
    };
    let value = item::value(&scalar);
    let value = value.ok_or_else(|| Fault::new("payload", scalar.described().to_owned()))?;
    if hints.sensor.is_none() && mapping.default_sensor.is_none() {
        let reason =
            "is missing: a bare value needs a key or topic that names its sensor, or `default_sensor`";
        return Err(Fault::new("sensor_id", reason.to_owned()));
    }
    sink.reading(Draft {
        sensor: item::unnamed_sensor("sensor_id", hints, mapping)?,
        metric: item::unnamed_metric("metric", hints, mapping)?,
        value,
        time: None,
        unit: None,
        quality: Quality::Good,
        tags: None,
        item: 0,
    });
    Ok(())
}
