//! Tables: a line is a row, and settings say what its columns are.
//!
//! Invariants: every row is answered at least once, and one that is wrong harms only itself. A refused row is kept with the header
//! above it, so that it can be decoded again. A row is one line of text: quotes are understood, line ends in them are not.

use std::borrow::Cow;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde::{Deserialize, Serialize};

use super::fields::MAX_FLAT_METRICS;
use super::item::{self, Fault};
use super::json::JsonMapping;
use super::scalar::Scalar;
use super::tags::TagsBuilder;
use super::{Draft, Hints, Sink, TableTime};
use crate::domain::{MetricName, Quality, SensorId};

/// What the columns of a table are.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvMapping {
    /// Whether the first line has the names of the columns.
    pub header: bool,
    pub delimiter: u8,
    pub sensor_id: Option<Column>,
    pub timestamp: Option<Column>,
    pub time: TableTime,
    pub tags: Vec<(String, Column)>,
    pub values: CsvValues,
}

/// How rows say what was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum CsvValues {
    /// One reading a row.
    Long {
        metric: Option<Column>,
        value: Column,
        unit: Option<Column>,
    },
    /// These columns are metrics.
    Wide(Vec<(MetricName, Column)>),
    /// Every column that is nothing else and holds a number is a metric, called as in the header.
    Numbers,
}

/// By its name in the header, or by its place, from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Column {
    Place(usize),
    Name(String),
}

/// The columns of one table, found by its header.
#[derive(Debug, Clone)]
pub struct CsvTable {
    /// The header as it was, without its line end; empty where there is none.
    line: Vec<u8>,
    names: Vec<String>,
    /// Or why its rows cannot be read.
    columns: Result<Columns, String>,
}

#[derive(Debug, Clone)]
struct Columns {
    sensor_id: Option<usize>,
    timestamp: Option<usize>,
    tags: Vec<(String, usize)>,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Long {
        metric: Option<usize>,
        value: usize,
        unit: Option<usize>,
    },
    Wide(Vec<(String, usize)>),
}

impl CsvTable {
    /// That of a table whose first line is `line`, which counts only where there is a header.
    pub fn new(mapping: &CsvMapping, line: &[u8]) -> Self {
        let line = if mapping.header { line } else { b"" };
        let mut table = CsvTable {
            line: line.to_vec(),
            names: Vec::new(),
            columns: Err("has a header that is not UTF-8".to_owned()),
        };
        if let Ok(cells) = cells(mapping, line) {
            table.names = cells.into_iter().map(|name| name.trim().to_owned()).collect();
            table.columns = table.find(mapping);
        }
        table
    }

    fn find(&self, mapping: &CsvMapping) -> Result<Columns, String> {
        let place = |column: &Column| match column {
            Column::Place(place) => Ok(*place),
            Column::Name(name) => {
                let found = self.names.iter().position(|known| known == name);
                found.ok_or_else(|| format!("has no column `{}` in its header", name.escape_debug()))
            }
        };
        let maybe = |column: &Option<Column>| column.as_ref().map(place).transpose();
        let (sensor_id, timestamp) = (maybe(&mapping.sensor_id)?, maybe(&mapping.timestamp)?);
        let tags: Result<Vec<_>, String> = mapping
            .tags
            .iter()
            .map(|(name, column)| Ok((name.clone(), place(column)?)))
            .collect();
        let tags = tags?;
        let values = match &mapping.values {
            CsvValues::Long { metric, value, unit } => Values::Long {
                metric: maybe(metric)?,
                value: place(value)?,
                unit: maybe(unit)?,
            },
            CsvValues::Wide(metrics) => {
                let columns = metrics
                    .iter()
                    .map(|(name, column)| Ok((name.as_str().to_owned(), place(column)?)));
                Values::Wide(columns.collect::<Result<_, String>>()?)
            }
            CsvValues::Numbers => {
                let used = |index: usize| {
                    [sensor_id, timestamp].contains(&Some(index)) || tags.iter().any(|(_, tag)| *tag == index)
                };
                let names = self.names.iter().enumerate().filter(|(index, _)| !used(*index));
                Values::Wide(names.map(|(index, name)| (name.clone(), index)).collect())
            }
        };
        Ok(Columns {
            sensor_id,
            timestamp,
            tags,
            values,
        })
    }
}

/// Gives `sink` every reading and every refusal of a table: a header where there is one, and rows.
pub(super) fn decode<'a, S: Sink<'a> + ?Sized>(
    payload: &'a [u8],
    hints: Hints<'a>,
    csv: &CsvMapping,
    mapping: &'a JsonMapping,
    sink: &mut S,
) {
    let payload = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    let mut lines = payload.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = if csv.header { lines.next() } else { None };
    let table = CsvTable::new(csv, first.unwrap_or_default());
    let rows = || lines.clone().filter(|line| !line.is_empty());
    if rows().count() > mapping.max_items {
        let reason = format!("has more than {} rows", mapping.max_items);
        return sink.refuse(Fault::limit("payload", reason).refusal(0, None, payload.into()));
    }
    for (index, row) in rows().enumerate() {
        decode_row(row, index as u32, hints, (csv, &table), mapping, sink);
    }
}

/// Gives `sink` what one row holds.
pub fn decode_row<'a, S: Sink<'a> + ?Sized>(
    row: &'a [u8],
    item: u32,
    hints: Hints<'a>,
    (csv, table): (&CsvMapping, &CsvTable),
    mapping: &'a JsonMapping,
    sink: &mut S,
) {
    let payload = || match table.line.is_empty() {
        true => Cow::Borrowed(row),
        false => Cow::Owned([&table.line, &b"\n"[..], row].concat()),
    };
    let columns = match &table.columns {
        Ok(columns) => columns,
        Err(reason) => {
            return sink.refuse(Fault::new("table", reason.clone()).refusal(item, None, payload()));
        }
    };
    let cells = match cells(csv, row) {
        Ok(cells) => cells,
        Err(fault) => return sink.refuse(fault.refusal(item, None, payload())),
    };
    let row = Row {
        cells,
        table,
        columns,
    };
    let sensor = match row.sensor(hints, mapping) {
        Ok(sensor) => sensor,
        Err(fault) => return sink.refuse(fault.refusal(item, None, payload())),
    };
    if let Err(fault) = row.answer(item, &sensor, hints, csv, mapping, &payload, sink) {
        sink.refuse(fault.refusal(item, Some(sensor), payload()));
    }
}

struct Row<'r> {
    cells: Vec<String>,
    table: &'r CsvTable,
    columns: &'r Columns,
}

impl Row<'_> {
    /// What a cell says; nothing where it is blank.
    fn cell(&self, place: usize) -> Option<&str> {
        let cell = self.cells.get(place)?.trim();
        (!cell.is_empty()).then_some(cell)
    }

    /// What a column is called.
    fn name(&self, place: usize) -> String {
        let name = self.table.names.get(place).filter(|name| !name.is_empty());
        name.cloned().unwrap_or_else(|| format!("column {place}"))
    }

    fn sensor<'a>(&self, hints: Hints<'a>, mapping: &'a JsonMapping) -> Result<Cow<'a, str>, Fault<'a>> {
        let Some((place, id)) = self
            .columns
            .sensor_id
            .and_then(|place| Some((place, self.cell(place)?)))
        else {
            return item::unnamed_sensor("sensor_id", hints, mapping);
        };
        let checked = SensorId::check(id);
        checked.map_err(|error| Fault::new(self.name(place), error.to_string()))?;
        Ok(Cow::Owned(id.to_owned()))
    }

    #[expect(clippy::too_many_arguments, reason = "what a row is read by, in one place")]
    fn answer<'a, S: Sink<'a> + ?Sized>(
        &self,
        index: u32,
        sensor: &Cow<'a, str>,
        hints: Hints<'a>,
        csv: &CsvMapping,
        mapping: &'a JsonMapping,
        payload: &impl Fn() -> Cow<'a, [u8]>,
        sink: &mut S,
    ) -> Result<(), Fault<'a>> {
        let time = match self
            .columns
            .timestamp
            .and_then(|place| Some((place, self.cell(place)?)))
        {
            Some((place, text)) => Some(
                csv.time
                    .read(text)
                    .map_err(|reason| Fault::new(self.name(place), reason))?,
            ),
            None => None,
        };
        let mut tags = TagsBuilder::default();
        for (name, place) in &self.columns.tags {
            if let Some(text) = self.cell(*place) {
                tags.add_text(name, text)
                    .map_err(|reason| Fault::new(name.clone(), reason))?;
            }
        }
        let tags = tags.finish();
        let draft = |metric: Cow<'a, str>, value, unit| Draft {
            sensor: sensor.clone(),
            metric,
            value,
            time,
            unit,
            quality: Quality::Good,
            tags: tags.clone(),
            item: index,
        };
        match &self.columns.values {
            Values::Long { metric, value, unit } => {
                let metric = match metric.and_then(|place| Some((place, self.cell(place)?))) {
                    Some((place, name)) => {
                        let checked = MetricName::check(name);
                        checked.map_err(|error| Fault::new(self.name(place), error.to_string()))?;
                        Cow::Owned(name.to_owned())
                    }
                    None => item::unnamed_metric("metric", hints, mapping)?,
                };
                let text = self.cell(*value);
                let text = text.ok_or_else(|| Fault::new(self.name(*value), "is missing".to_owned()))?;
                let number = number(text).map_err(|reason| Fault::new(self.name(*value), reason))?;
                let unit = match unit.and_then(|place| self.cell(place)) {
                    Some(text) => item::unit("unit", Scalar::Text(Cow::Owned(text.to_owned())))?,
                    None => None,
                };
                sink.reading(draft(metric, number, unit));
            }
            Values::Wide(metrics) => {
                if metrics.len() > MAX_FLAT_METRICS {
                    let reason = format!("has more than {MAX_FLAT_METRICS} metrics");
                    return Err(Fault::limit("row", reason));
                }
                self.wide(metrics, csv, &draft, (index, sensor, payload), sink)?;
            }
        }
        Ok(())
    }

    /// Text in a column that was named is refused; in any other it is no metric.
    fn wide<'a, S: Sink<'a> + ?Sized>(
        &self,
        metrics: &[(String, usize)],
        csv: &CsvMapping,
        draft: &impl Fn(Cow<'a, str>, f64, Option<Cow<'a, str>>) -> Draft<'a>,
        (index, sensor, payload): (u32, &Cow<'a, str>, &impl Fn() -> Cow<'a, [u8]>),
        sink: &mut S,
    ) -> Result<(), Fault<'a>> {
        let (mut any, mut texts) = (false, Vec::new());
        for (name, place) in metrics {
            let Some(text) = self.cell(*place) else { continue };
            let checked =
                MetricName::check(name).map_err(|error| format!("is no name of a metric: it {error}"));
            match checked.and_then(|()| number(text)) {
                Ok(value) => sink.reading(draft(Cow::Owned(name.clone()), value, None)),
                Err(_) if csv.values == CsvValues::Numbers && Scalar::of_text(text).is_none() => {
                    texts.push(name);
                    continue;
                }
                Err(reason) => {
                    let fault = Fault::new(name.clone(), reason);
                    sink.refuse(fault.refusal(index, Some(sensor.clone()), payload()));
                }
            }
            any = true;
        }
        if !any {
            return Err(Fault::new("row", "has no number".to_owned()));
        }
        for name in texts {
            sink.ignored(Cow::Owned(name.clone()));
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<f64, String> {
    match Scalar::of_text(text) {
        Some(huge @ Scalar::HugeNumber) => Err(huge.described().to_owned()),
        Some(scalar) => item::value(&scalar).ok_or_else(|| "is no number".to_owned()),
        None => Err("is text, must be a number or a boolean".to_owned()),
    }
}

/// The cells of one line.
fn cells<'f>(csv: &CsvMapping, line: &[u8]) -> Result<Vec<String>, Fault<'f>> {
    if let Err(error) = std::str::from_utf8(line) {
        let reason = format!("is not UTF-8 from byte {}", error.valid_up_to());
        return Err(Fault::new("row", reason));
    }
    let mut reader: Reader = ReaderBuilder::new().delimiter(csv.delimiter).build();
    let mut output = vec![0; line.len() + 1];
    // A cell ends at a delimiter or at the end.
    let mut ends = vec![0; line.iter().filter(|byte| **byte == csv.delimiter).count() + 2];
    let (mut input, mut written, mut count) = (line, 0, 0);
    loop {
        let (result, read, wrote, ended) =
            reader.read_record(input, &mut output[written..], &mut ends[count..]);
        input = &input[read..];
        written += wrote;
        count += ended;
        match result {
            // The empty input that comes next says that this is the end.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::Record | ReadRecordResult::End => break,
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                return Err(Fault::new("row", "cannot be read".to_owned()));
            }
        }
    }
    let mut begin = 0;
    let mut found = Vec::with_capacity(count);
    for end in &ends[..count] {
        found.push(String::from_utf8_lossy(&output[begin..*end]).into_owned());
        begin = *end;
    }
    Ok(found)
}
