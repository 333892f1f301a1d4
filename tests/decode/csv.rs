//! Tables, long and wide, with headers and without.

use std::sync::Arc;

use super::*;
use sensorhive::decode::{Column, CsvMapping, CsvValues, Format, TableTime};

fn name(name: &str) -> Column {
    Column::Name(name.to_owned())
}

fn wide() -> CsvMapping {
    CsvMapping {
        header: true,
        delimiter: b',',
        sensor_id: Some(name("device")),
        timestamp: Some(name("at")),
        time: TableTime::parse("auto").unwrap(),
        tags: vec![("site".to_owned(), name("site"))],
        values: CsvValues::Numbers,
    }
}

fn read(csv: CsvMapping, table: &str) -> (Vec<String>, Vec<String>) {
    let mapping = JsonMapping {
        format: Format::Csv(Arc::new(csv)),
        ..strict()
    };
    decoded_as(table, Hints::default(), &mapping)
}

#[test]
fn every_number_of_a_wide_table_is_a_reading() {
    let table = "\u{feff}at,device,site,temperature,\"air, humidity\",note\r\n\
        1730332800,s1,north,21.5,40,ok\r\n\
        \r\n\
        2024-10-31 00:00:01,\"s \"\"2\"\"\",,-1e2,,\r\n";
    let (readings, refusals) = read(wide(), table);
    assert_eq!(refusals, Vec::<String>::new());
    assert_eq!(
        readings,
        [
            "s1 temperature 21.5 2024-10-31T00:00:00Z",
            "s1 air, humidity 40 2024-10-31T00:00:00Z",
            "s \"2\" temperature -100 2024-10-31T00:00:01Z",
        ]
    );
}

#[test]
fn long_tables_have_a_reading_in_each_row() {
    let csv = CsvMapping {
        header: false,
        delimiter: b';',
        sensor_id: Some(Column::Place(0)),
        timestamp: Some(Column::Place(1)),
        time: TableTime::parse("%d.%m.%Y %H:%M").unwrap(),
        tags: Vec::new(),
        values: CsvValues::Long {
            metric: Some(Column::Place(2)),
            value: Column::Place(3),
            unit: Some(Column::Place(4)),
        },
    };
    let (readings, refusals) = read(
        csv,
        "s1;31.10.2024 00:00;t;21.5;C\ns1;31.10.2024;t;1;C\ns1;31.10.2024 00:01;t;x",
    );
    assert_eq!(readings, ["s1 t 21.5 2024-10-31T00:00:00Z"]);
    assert_eq!(
        refusals,
        [
            "1: `column 1` is not a time in the form \"%d.%m.%Y %H:%M\"",
            "2: `column 3` is text, must be a number or a boolean",
        ]
    );
}

#[test]
fn a_row_that_is_wrong_is_kept_with_its_header() {
    let mapping = JsonMapping {
        format: Format::Csv(Arc::new(CsvMapping {
            values: CsvValues::Wide(vec![(MetricName::parse("t").unwrap(), name("temperature"))]),
            ..wide()
        })),
        ..strict()
    };
    let header = "device,at,site,temperature";
    for (row, sentence) in [
        ("s1,soon,,1", "`at` is not a time: give RFC 3339 text"),
        (
            "s1,1730332800,,warm",
            "`t` is text, must be a number or a boolean",
        ),
        (
            "s1,1730332800,,1e999",
            "`t` is a number beyond what 64-bit floating point holds",
        ),
        ("s1,1730332800,,NaN", "`t` is text, must be a number or a boolean"),
        ("s1,1730332800", "`row` has no number"),
        (",1730332800,,1", "`sensor_id` is missing"),
        ("\"s1,1730332800,,1", "`row` has no number"),
    ] {
        let table = format!("{header}\ns0,1730332800,,1\n{row}\ns2,1730332800,,2\n");
        let mut found = Found::default();
        decode(table.as_bytes(), Hints::default(), &mapping, &mut found);
        assert_eq!(found.drafts.len() + found.refusals.len(), 3, "{row}");
        for refusal in &found.refusals {
            assert!(refusal.to_string().starts_with(sentence), "{row}: {refusal}");
            assert_eq!(refusal.payload, format!("{header}\n{row}").as_bytes());
        }
    }
    let (readings, refusals) = read(wide(), "at,site\n1,2");
    assert!(readings.is_empty());
    assert_eq!(refusals, ["0: `table` has no column `device` in its header"]);
}

proptest! {
    #[test]
    fn any_rows_are_answered(table in proptest::collection::vec(
        prop_oneof![any::<u8>(), proptest::sample::select(b",,,\"\n;1.at".to_vec())], 0..200)) {
        let mapping = JsonMapping {
            format: Format::Csv(Arc::new(CsvMapping { header: false, sensor_id: Some(Column::Place(0)),
                timestamp: None, tags: Vec::new(), values: CsvValues::Long { metric: None, value: Column::Place(1), unit: None }, ..wide() })),
            ..JsonMapping::default()
        };
        let mut found = Found::default();
        decode(&table, Hints::default(), &mapping, &mut found);
        let table = table.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&table);
        let rows = table.split(|byte| *byte == b'\n').filter(|row| !row.trim_ascii_end().is_empty()).count();
        prop_assert_eq!(found.drafts.len() + found.refusals.len(), rows);
    }
}
