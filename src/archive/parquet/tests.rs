//! Out and back, and what is done to a file on the way.

use super::*;
use crate::domain::Tags;

fn name(sensor: &str, unit: Option<&str>) -> SeriesName {
    SeriesName {
        sensor: SensorId::parse(sensor).unwrap(),
        tags: Tags::from([("site".to_owned(), "a\"\u{0}ü".to_owned())]),
        metric: MetricName::parse("temperature").unwrap(),
        unit: unit.map(str::to_owned),
    }
}

fn day() -> Day {
    "2026-01-02".parse().unwrap()
}

fn rows(names: &[SeriesName], each: i64) -> Rows {
    let mut rows = Rows {
        names: names.to_vec(),
        readings: Vec::new(),
    };
    for place in 0..names.len() {
        for n in 0..each {
            let point = StoredPoint {
                time: day().start().saturating_add(n * 1_000),
                value: n as f64 / 3.0,
                seq: Seq(n as u64 + 7),
                flags: Flags((n % 256) as u8),
            };
            rows.readings.push((place, point));
        }
    }
    rows
}

fn written(groups: &[Rows]) -> (Bytes, RowHasher) {
    let mut writer = ObjectWriter::new(day(), 1).unwrap();
    for group in groups {
        writer.push(group).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let first = rows(&[name("<img src=x>", Some("°C")), name("boiler 7/α", None)], 500);
    let second = rows(&[name("c", Some(""))], 3);
    let (bytes, hasher) = written(&[first.clone(), second.clone()]);
    let object = Object::open(bytes).unwrap();
    assert_eq!((object.day, object.rows, object.groups()), (day(), 1003, 2));
    assert_eq!(object.group(0).unwrap(), first);
    assert_eq!(object.group(1).unwrap(), second);
    let checked = object.survey().unwrap().hasher;
    assert_eq!((checked.rows, checked.checksum), (hasher.rows, hasher.checksum));
}

#[test]
fn every_byte_that_is_changed_is_noticed() {
    let (bytes, _) = written(&[rows(&[name("a", None), name("b", Some("V"))], 40)]);
    let mut noticed = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x10;
        let read =
            std::panic::catch_unwind(|| Object::open(damaged.into()).and_then(|object| object.survey()));
        noticed += usize::from(!matches!(read, Ok(Ok(_))));
    }
    // The rest are statistics, names of encodings and the like, which only the SHA-256 covers.
    assert!(noticed * 10 > bytes.len() * 4, "{noticed} of {}", bytes.len());
}

#[test]
fn rows_out_of_order_or_of_another_day_are_refused() {
    let mut writer = ObjectWriter::new(day(), 1).unwrap();
    let one = rows(&[name("a", None)], 3);
    writer.push(&one).unwrap();
    assert!(writer.push(&one).is_err());
    let mut other = ObjectWriter::new(day().next(), 1).unwrap();
    assert!(other.push(&one).is_err());
}

#[test]
fn what_is_no_object_of_ours_is_refused() {
    assert!(Object::open(Bytes::new()).is_err());
    assert!(Object::open(Bytes::from_static(b"PAR1 and then PAR1")).is_err());
    let schema = parse_message_type("message x { required int32 y; }").unwrap();
    let foreign = SerializedFileWriter::new(Vec::new(), schema.into(), Default::default()).unwrap();
    let foreign = foreign.into_inner().unwrap();
    let error = Object::open(foreign.into()).err().unwrap();
    assert!(error.contains("does not say its format"), "{error}");
}
