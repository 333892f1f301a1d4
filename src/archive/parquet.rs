//! Rows to the bytes of a Parquet object, and back.
//!
//! One row a reading: `sensor`, `metric`, `unit`, `time`, `value`, `seq`, `flags`, `tags` (JSON). The file says what it is in
//! its metadata, under names that begin with `sensorhive.`: the version of the format, the day, the part, how many rows, and
//! their checksum. Invariants: rows of a series lie side by side, by time; what is read back was checked like any input, since
//! anybody may have had the file in his hands.

use std::collections::{BTreeMap, HashMap};

use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::reader::get_typed_column_reader;
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::ColumnPath;
use bytes::Bytes;

use super::checksum::{RowHasher, SeriesHash};
use crate::domain::{Day, Flags, MetricName, SensorId, Seq, Timestamp};
use crate::storage::archives::{RowsChecksum, SeriesName};
use crate::storage::history::StoredPoint;

/// The version of the format.
const FORMAT: &str = "1";
const SCHEMA: &str = "message reading {
    required binary sensor (STRING);
    required binary metric (STRING);
    optional binary unit (STRING);
    required int64 time (TIMESTAMP(MICROS, true));
    required double value;
    required int64 seq;
    required int32 flags (INTEGER(8, false));
    required binary tags (JSON);
}";
const COLUMNS: usize = 8;

/// How large the pieces are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The most rows of a group, which is held in memory twice.
    pub group: usize,
    /// An object ends with the group that reaches this …
    pub rows: u64,
    /// … or this; it lies in memory as a whole.
    pub bytes: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            group: 1 << 16,
            rows: 4 << 20,
            bytes: 32 << 20,
        }
    }
}

/// What no group of ours has.
const GROUP_LIMIT: usize = 1 << 20;

/// Readings with their names; neighbors of the same series share one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    pub names: Vec<SeriesName>,
    /// Place of the name, and the reading.
    pub readings: Vec<(usize, StoredPoint)>,
}

/// Writes one object, group by group, in memory.
pub struct ObjectWriter {
    file: SerializedFileWriter<Vec<u8>>,
    day: Day,
    part: u32,
    hasher: RowHasher,
    last: Option<(SeriesName, Timestamp)>,
}

impl ObjectWriter {
    pub fn new(day: Day, part: u32) -> Result<Self, ParquetError> {
        let column = |name: &str| ColumnPath::from(name);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_created_by(concat!("sensorhive ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_column_dictionary_enabled(column("time"), false)
            .set_column_encoding(column("time"), Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_enabled(column("seq"), false)
            .set_column_encoding(column("seq"), Encoding::DELTA_BINARY_PACKED)
            .build();
        let schema = parse_message_type(SCHEMA)?;
        Ok(Self {
            file: SerializedFileWriter::new(Vec::new(), schema.into(), properties.into())?,
            day,
            part,
            hasher: RowHasher::default(),
            last: None,
        })
    }

    /// Adds a group of rows, which come after all before: series side by side, each by time.
    pub fn push(&mut self, rows: &Rows) -> Result<(), ParquetError> {
        let hashes: Vec<SeriesHash> = rows.names.iter().map(SeriesHash::new).collect();
        let mut last = self.last.take();
        for (name, point) in &rows.readings {
            let series = &rows.names[*name];
            if let Some((before, time)) = &last
                && before == series
                && *time >= point.time
            {
                return Err(ParquetError::General("rows came out of order".to_owned()));
            }
            if !self.day.contains(point.time) {
                return Err(ParquetError::General("a row belongs to another day".to_owned()));
            }
            self.hasher.add(&hashes[*name], point);
            match &mut last {
                Some((before, time)) if before == series => *time = point.time,
                last => *last = Some((series.clone(), point.time)),
            }
        }
        self.last = last;
        let mut group = self.file.next_row_group()?;
        let text = |texts: Vec<ByteArray>| -> Vec<ByteArray> {
            rows.readings
                .iter()
                .map(|(name, _)| texts[*name].clone())
                .collect()
        };
        let names =
            |of: fn(&SeriesName) -> &str| text(rows.names.iter().map(|name| of(name).into()).collect());
        write::<ByteArrayType>(&mut group, &names(|name| name.sensor.as_str()), None)?;
        write::<ByteArrayType>(&mut group, &names(|name| name.metric.as_str()), None)?;
        let unit = |place: &usize| rows.names[*place].unit.as_deref();
        let units: Vec<ByteArray> = rows
            .readings
            .iter()
            .filter_map(|(name, _)| unit(name).map(ByteArray::from))
            .collect();
        let defined: Vec<i16> = rows
            .readings
            .iter()
            .map(|(name, _)| i16::from(unit(name).is_some()))
            .collect();
        write::<ByteArrayType>(&mut group, &units, Some(&defined))?;
        let points = || rows.readings.iter().map(|(_, point)| point);
        write::<Int64Type>(
            &mut group,
            &points().map(|point| point.time.0).collect::<Vec<_>>(),
            None,
        )?;
        write::<DoubleType>(
            &mut group,
            &points().map(|point| point.value).collect::<Vec<_>>(),
            None,
        )?;
        write::<Int64Type>(
            &mut group,
            &points().map(|point| point.seq.0 as i64).collect::<Vec<_>>(),
            None,
        )?;
        write::<Int32Type>(
            &mut group,
            &points().map(|point| i32::from(point.flags.0)).collect::<Vec<_>>(),
            None,
        )?;
        let mut tags = Vec::with_capacity(rows.names.len());
        for name in &rows.names {
            let json =
                serde_json::to_string(&name.tags).map_err(|error| ParquetError::External(error.into()))?;
            tags.push(ByteArray::from(json.into_bytes()));
        }
        write::<ByteArrayType>(&mut group, &text(tags), None)?;
        group.close()?;
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.hasher.rows == 0
    }

    /// Whether the next row belongs into another object.
    pub fn is_full(&self, sizes: &Sizes) -> bool {
        self.hasher.rows >= sizes.rows || self.file.bytes_written() >= sizes.bytes
    }

    /// The bytes, and what is in them.
    pub fn finish(mut self) -> Result<(Bytes, RowHasher), ParquetError> {
        for (key, value) in [
            ("format", FORMAT.to_owned()),
            ("day", self.day.to_string()),
            ("part", self.part.to_string()),
            ("rows", self.hasher.rows.to_string()),
            ("checksum", self.hasher.checksum.to_string()),
        ] {
            let key = KeyValue::new(format!("sensorhive.{key}"), value);
            self.file.append_key_value_metadata(key);
        }
        Ok((self.file.into_inner()?.into(), self.hasher))
    }
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    defined: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("there is no such column".to_owned()));
    };
    column.typed::<T>().write_batch(values, defined, None)?;
    column.close()
}

/// An object as it was read, with what it says of itself.
pub struct Object {
    reader: SerializedFileReader<Bytes>,
    pub day: Day,
    pub rows: u64,
    pub checksum: RowsChecksum,
}

impl Object {
    /// Fails, with the reason, where it is none of ours.
    pub fn open(bytes: Bytes) -> Result<Self, String> {
        let reader = SerializedFileReader::new(bytes).map_err(|error| error.to_string())?;
        let said: HashMap<&str, &str> = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair.key.strip_prefix("sensorhive.")?, pair.value.as_deref()?)))
            .collect();
        let say = |key: &str| {
            said.get(key)
                .copied()
                .ok_or_else(|| format!("it does not say its {key}"))
        };
        let format = say("format")?;
        if format != FORMAT {
            return Err(format!("its format is {format:?}, this program knows {FORMAT:?}"));
        }
        let unreadable = |key: &str| format!("its {key} cannot be read");
        let day = say("day")?.parse().map_err(|_| unreadable("day"))?;
        let rows = say("rows")?.parse().map_err(|_| unreadable("rows"))?;
        let checksum = say("checksum")?.parse().map_err(|_| unreadable("checksum"))?;
        let schema = parse_message_type(SCHEMA).map_err(|error| error.to_string())?;
        if reader.metadata().file_metadata().schema().get_fields() != schema.get_fields() {
            return Err("its columns are others than they should be".to_owned());
        }
        Ok(Self {
            reader,
            day,
            rows,
            checksum,
        })
    }

    pub fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// The rows of one group.
    pub fn group(&self, at: usize) -> Result<Rows, String> {
        let group = self.reader.get_row_group(at).map_err(|error| error.to_string())?;
        let count = usize::try_from(group.metadata().num_rows()).unwrap_or(usize::MAX);
        if count > GROUP_LIMIT {
            return Err(format!("a group has {count} rows"));
        }
        let columns = Columns::read(group.as_ref(), count).map_err(|error| error.to_string())?;
        columns.rows(self.day)
    }

    /// Reads everything, and compares it with what the object says of itself.
    pub fn survey(&self) -> Result<Survey, String> {
        let mut hasher = RowHasher::default();
        let mut names: BTreeMap<(String, String), SeriesName> = BTreeMap::new();
        let mut newest = Seq(0);
        for at in 0..self.groups() {
            let rows = self.group(at)?;
            let hashes: Vec<SeriesHash> = rows.names.iter().map(SeriesHash::new).collect();
            for (name, point) in &rows.readings {
                hasher.add(&hashes[*name], point);
                newest = newest.max(point.seq);
            }
            for name in rows.names {
                names.insert((name.sensor.to_string(), name.metric.to_string()), name);
            }
        }
        if hasher.rows != self.rows {
            return Err(format!(
                "it says that it has {} rows and has {}",
                self.rows, hasher.rows
            ));
        }
        if hasher.checksum != self.checksum {
            return Err(format!(
                "it says that its checksum is {} and has {}",
                self.checksum, hasher.checksum
            ));
        }
        Ok(Survey {
            hasher,
            names: names.into_values().collect(),
            newest,
        })
    }
}

/// What all of an object comes to.
pub struct Survey {
    pub hasher: RowHasher,
    /// Every series, once.
    pub names: Vec<SeriesName>,
    pub newest: Seq,
}

struct Columns {
    sensor: Vec<ByteArray>,
    metric: Vec<ByteArray>,
    unit: Vec<Option<ByteArray>>,
    time: Vec<i64>,
    value: Vec<f64>,
    seq: Vec<i64>,
    flags: Vec<i32>,
    tags: Vec<ByteArray>,
}

impl Columns {
    fn read(group: &dyn RowGroupReader, count: usize) -> Result<Self, ParquetError> {
        if group.num_columns() != COLUMNS {
            return Err(ParquetError::General("columns are missing".to_owned()));
        }
        let mut units = Vec::new();
        let mut defined = Vec::new();
        let column = group.get_column_reader(2)?;
        get_typed_column_reader::<ByteArrayType>(column).read_records(
            count,
            Some(&mut defined),
            None,
            &mut units,
        )?;
        let mut units = units.into_iter();
        let unit: Vec<_> = defined
            .into_iter()
            .map(|level| if level == 1 { units.next() } else { None })
            .collect();
        if unit.len() != count {
            return Err(ParquetError::General("a column is too short".to_owned()));
        }
        Ok(Self {
            sensor: read::<ByteArrayType>(group, 0, count)?,
            metric: read::<ByteArrayType>(group, 1, count)?,
            unit,
            time: read::<Int64Type>(group, 3, count)?,
            value: read::<DoubleType>(group, 4, count)?,
            seq: read::<Int64Type>(group, 5, count)?,
            flags: read::<Int32Type>(group, 6, count)?,
            tags: read::<ByteArrayType>(group, 7, count)?,
        })
    }

    fn rows(&self, day: Day) -> Result<Rows, String> {
        let mut rows = Rows::default();
        for at in 0..self.time.len() {
            let same = at > 0
                && self.sensor[at] == self.sensor[at - 1]
                && self.metric[at] == self.metric[at - 1]
                && self.unit[at] == self.unit[at - 1]
                && self.tags[at] == self.tags[at - 1];
            if !same {
                rows.names.push(self.name(at)?);
            }
            let point = StoredPoint {
                time: Timestamp(self.time[at]),
                value: self.value[at],
                seq: Seq(u64::try_from(self.seq[at]).map_err(|_| "a sequence is below zero")?),
                flags: Flags(u8::try_from(self.flags[at]).map_err(|_| "flags are no byte")?),
            };
            if !point.value.is_finite() {
                return Err("a value is no number".to_owned());
            }
            if !day.contains(point.time) {
                return Err(format!("a row of {} is not of its day, {day}", point.time));
            }
            rows.readings.push((rows.names.len() - 1, point));
        }
        Ok(rows)
    }

    fn name(&self, at: usize) -> Result<SeriesName, String> {
        let text = |bytes: &ByteArray| {
            bytes
                .as_utf8()
                .map(str::to_owned)
                .map_err(|error| error.to_string())
        };
        Ok(SeriesName {
            sensor: SensorId::try_from(text(&self.sensor[at])?)
                .map_err(|error| format!("a sensor's id {error}"))?,
            metric: MetricName::try_from(text(&self.metric[at])?)
                .map_err(|error| format!("a metric {error}"))?,
            unit: self.unit[at].as_ref().map(text).transpose()?,
            tags: serde_json::from_slice(self.tags[at].data())
                .map_err(|error| format!("tags cannot be read: {error}"))?,
        })
    }
}

fn read<T: DataType>(
    group: &dyn RowGroupReader,
    column: usize,
    count: usize,
) -> Result<Vec<T::T>, ParquetError> {
    let mut values = Vec::with_capacity(count);
    get_typed_column_reader::<T>(group.get_column_reader(column)?).read_records(
        count,
        None,
        None,
        &mut values,
    )?;
    if values.len() != count {
        return Err(ParquetError::General("a column is too short".to_owned()));
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
