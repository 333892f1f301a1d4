//! Line protocol, as InfluxDB and Telegraf write it: `measurement,tag=text field=1.5,other=2i 1730332800000000000`.
//!
//! Each field that is a number or a boolean is a reading. Its sensor is the tag `sensor_id`, else measurement and tags together;
//! its metric is the field's name. Invariants: each line is answered at least once, unless all it does is to be a comment or blank,
//! and a line that is wrong harms only itself. Text is no reading: beside others it is told as ignored, alone it is refused.
//! Linear in the payload, never panics.

mod scan;

use std::borrow::Cow;

use super::fields::MAX_FLAT_METRICS;
use super::item::{Fault, Place};
use super::json::JsonMapping;
use super::scalar::Scalar;
use super::tags::TagsBuilder;
use super::{Draft, Hints, MAX_TAGS, RawTags, Sink, TimeUnit};
use crate::domain::{MetricName, Quality, SensorId, TimeError, Timestamp};

pub use scan::Lines;
use scan::{Cursor, Written};

/// The tag that names the sensor.
const SENSOR: &str = "sensor_id";
/// A field of this name says nothing of what it measures: where the sensor is named, the measurement does.
const UNNAMED_FIELD: &str = "value";

/// Gives `sink` every reading and every refusal of `payload`; times are in `unit`.
pub(super) fn decode<'a, S: Sink<'a> + ?Sized>(
    payload: &'a [u8],
    unit: TimeUnit,
    mapping: &'a JsonMapping,
    sink: &mut S,
) {
    let count = Lines::of(payload).count();
    if count > mapping.max_items {
        let reason = format!("has {count} lines, at most {} are allowed", mapping.max_items);
        let place = place(0, payload);
        return sink.refuse(place.refuse(Fault::limit("payload", reason), None));
    }
    for (index, line) in Lines::of(payload).enumerate() {
        answer(place(index as u32, line), unit, sink);
    }
}

/// Cuts a payload between lines, so that no part has more than `readings` readings or, unless a line alone is longer, `bytes` bytes.
pub fn parts(payload: &[u8], readings: usize, bytes: usize) -> impl Iterator<Item = &[u8]> {
    let mut lines = Lines::of(payload).peekable();
    let offset = move |line: &[u8]| line.as_ptr().addr() - payload.as_ptr().addr();
    std::iter::from_fn(move || {
        let first = lines.next()?;
        let (begin, mut end) = (offset(first), offset(first) + first.len());
        let mut count = most_readings(first);
        while let Some(line) = lines.peek() {
            let line_end = offset(line) + line.len();
            count += most_readings(line);
            if count > readings || line_end - begin > bytes {
                break;
            }
            end = line_end;
            lines.next();
        }
        Some(&payload[begin..end])
    })
}

/// No reading without a sign of equality; and a line without one is a refusal.
fn most_readings(line: &[u8]) -> usize {
    line.iter().filter(|byte| **byte == b'=').count().max(1)
}

fn place(item: u32, payload: &[u8]) -> Place<'_> {
    Place {
        item,
        payload,
        hints: Hints::default(),
    }
}

fn answer<'a, S: Sink<'a> + ?Sized>(place: Place<'a>, unit: TimeUnit, sink: &mut S) {
    let line = match std::str::from_utf8(place.payload) {
        Ok(line) => line,
        Err(error) => {
            let reason = format!("is not UTF-8 from byte {}", error.valid_up_to());
            return sink.refuse(place.refuse(Fault::new("line", reason), None));
        }
    };
    let line = match Line::read(line) {
        Ok(line) => line,
        Err(fault) => return sink.refuse(place.refuse(fault, None)),
    };
    let sensor = match line.sensor() {
        Ok(sensor) => sensor,
        Err(fault) => return sink.refuse(place.refuse(fault, None)),
    };
    let (time, tags) = match line.time(unit).and_then(|time| Ok((time, line.tags()?))) {
        Ok(found) => found,
        Err(fault) => return sink.refuse(place.refuse(fault, Some(sensor))),
    };
    let mut texts = Vec::new();
    let mut answered = false;
    let named = line.sensor.is_some();
    for (name, written) in line.fields {
        let Written::Bare(written) = written else {
            texts.push(name);
            continue;
        };
        answered = true;
        let metric = match &*name {
            UNNAMED_FIELD if named => line.measurement.clone(),
            _ => name.clone(),
        };
        let checked =
            MetricName::check(&metric).map_err(|error| format!("is no name of a metric: it {error}"));
        match checked.and_then(|()| number(written)) {
            Ok(value) => sink.reading(Draft {
                sensor: sensor.clone(),
                metric,
                value,
                time,
                unit: None,
                quality: Quality::Good,
                tags: tags.clone(),
                item: place.item,
            }),
            Err(reason) => sink.refuse(place.refuse(Fault::new(name, reason), Some(sensor.clone()))),
        }
    }
    if answered {
        texts.into_iter().for_each(|name| sink.ignored(name));
    } else if let Some(name) = texts.into_iter().next() {
        let fault = Fault::new(name, "is text, and the line has no number or boolean".to_owned());
        sink.refuse(place.refuse(fault, Some(sensor)));
    }
}

/// A line whose parts are told apart.
struct Line<'a> {
    measurement: Cow<'a, str>,
    /// What the tag says, if it is there.
    sensor: Option<Cow<'a, str>>,
    /// The others, in order.
    tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// At least one.
    fields: Vec<(Cow<'a, str>, Written<'a>)>,
    time: &'a str,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Result<Self, Fault<'a>> {
        let mut cursor = Cursor::new(line);
        let measurement = cursor.name(b", ", b", ");
        if measurement.is_empty() {
            return Err(Fault::new("measurement", "is missing".to_owned()));
        }
        let (sensor, tags) = read_tags(&mut cursor)?;
        cursor.skip_spaces();
        let fields = read_fields(&mut cursor)?;
        Ok(Line {
            measurement,
            sensor,
            tags,
            fields,
            time: cursor.rest().trim_matches(' '),
        })
    }

    /// Who it is: without a tag that says so, measurement and tags as they are written, in order.
    fn sensor(&self) -> Result<Cow<'a, str>, Fault<'a>> {
        if let Some(sensor) = &self.sensor {
            let checked = SensorId::check(sensor);
            checked.map_err(|error| Fault::new(SENSOR, error.to_string()))?;
            return Ok(sensor.clone());
        }
        let mut name = String::with_capacity(64);
        escape(&self.measurement, &[',', ' '], &mut name);
        for (key, text) in &self.tags {
            name.push(',');
            escape(key, &[',', '=', ' '], &mut name);
            name.push('=');
            escape(text, &[',', '=', ' '], &mut name);
        }
        let checked = SensorId::check(&name);
        let longer = |error| format!("together {error}; a tag `{SENSOR}` names the sensor");
        checked.map_err(|error| Fault::new("measurement and tags", longer(error)))?;
        Ok(Cow::Owned(name))
    }

    fn time(&self, unit: TimeUnit) -> Result<Option<Timestamp>, Fault<'a>> {
        if self.time.is_empty() {
            return Ok(None);
        }
        let number = self.time.parse::<i64>();
        let time = match number {
            Ok(number) => unit.read(&Scalar::Integer(number)),
            Err(_) => Err(TimeError::NotATime),
        };
        let fault = |_| Fault::new("timestamp", "is not a whole number of 64 bits".to_owned());
        time.map_err(fault)
    }

    fn tags(&self) -> Result<Option<RawTags<'a>>, Fault<'a>> {
        if self.tags.len() > MAX_TAGS {
            return Err(Fault::new("tags", format!("has more than {MAX_TAGS} tags")));
        }
        let mut builder = TagsBuilder::default();
        for (name, text) in &self.tags {
            let added = super::check_tag_name(name).and_then(|()| builder.add_text(name, text));
            added.map_err(|reason| Fault::new(name.clone(), reason))?;
        }
        Ok(builder.finish())
    }
}

type Tags<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

fn read_tags<'a>(cursor: &mut Cursor<'a>) -> Result<(Option<Cow<'a, str>>, Tags<'a>), Fault<'a>> {
    let mut tags = Tags::new();
    while cursor.take(b',') {
        let key = cursor.name(b",= ", b",= ");
        if key.is_empty() || !cursor.take(b'=') {
            return Err(Fault::new("tags", "need a name, `=` and a text each".to_owned()));
        }
        let text = cursor.name(b",= ", b",= ");
        if text.is_empty() || cursor.peek() == Some(b'=') {
            let reason = "is a tag that needs one text; `,`, `=` and blanks in it need `\\` before them";
            return Err(Fault::new(key, reason.to_owned()));
        }
        tags.push((key, text));
    }
    tags.sort();
    if let Some(pair) = tags.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Fault::new(
            pair[0].0.clone(),
            "is given more than once".to_owned(),
        ));
    }
    let named = tags.iter().position(|(key, _)| key == SENSOR);
    let sensor = named.map(|index| tags.remove(index).1);
    Ok((sensor, tags))
}

fn read_fields<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<(Cow<'a, str>, Written<'a>)>, Fault<'a>> {
    let mut fields = Vec::new();
    loop {
        let name = cursor.name(b",= ", b",= ");
        if name.is_empty() || !cursor.take(b'=') {
            let reason = "are missing, or not each a name, `=` and a value";
            return Err(Fault::new("fields", reason.to_owned()));
        }
        match cursor.value() {
            Some(value) => fields.push((name, value)),
            None => return Err(Fault::new(name, "has quotes that do not close".to_owned())),
        }
        if fields.len() > MAX_FLAT_METRICS {
            let reason = format!("are more than {MAX_FLAT_METRICS}");
            return Err(Fault::limit("fields", reason));
        }
        match cursor.peek() {
            Some(b',') => cursor.take(b','),
            Some(b' ') | None => return Ok(fields),
            Some(_) => {
                let reason = "have something after the quotes of a text".to_owned();
                return Err(Fault::new("fields", reason));
            }
        };
    }
}

/// Floats, whole numbers with `i` or `u`, booleans. The error is to be read after the name of the field.
fn number(written: &str) -> Result<f64, String> {
    let whole = |kind: &str| format!("is not {kind} of 64 bits");
    match written {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(0.0),
        _ => {}
    }
    if let Some(digits) = written.strip_suffix('i') {
        let value = digits.parse::<i64>().map_err(|_| whole("a whole number"))?;
        return Ok(value as f64);
    }
    if let Some(digits) = written.strip_suffix('u') {
        let value = digits
            .parse::<u64>()
            .map_err(|_| whole("a whole number without sign"))?;
        return Ok(value as f64);
    }
    match Scalar::of_text(written) {
        Some(Scalar::Float(value)) => Ok(value),
        Some(huge @ Scalar::HugeNumber) => Err(huge.described().to_owned()),
        _ => Err("is neither a number nor a boolean nor text in quotes".to_owned()),
    }
}

fn escape(text: &str, special: &[char], out: &mut String) {
    for letter in text.chars() {
        if special.contains(&letter) {
            out.push('\\');
        }
        out.push(letter);
    }
}
