//! `detect`: the default ensemble over CSV files, one series a file.
//!
//! Invariants: a file is read once, from its beginning, and each row is judged before the next is read. Rows come out
//! in their order with their time and value as they were written. The result takes its name only when it is complete,
//! so what stands there is whole. Nothing is written before the names are known to be sound: no two alike, none of a
//! file to be read.
//!
//! How it fails: at the first file that cannot be read, with its name, the line and the reason; files before it are
//! done.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use csv_core::{ReadRecordResult, Reader, WriteResult, Writer};

use super::args::DetectArgs;
use super::commands::print;
use super::exit::{CommandError, ExitCode};
use crate::core::{Scorer, THRESHOLD};
use crate::domain::Timestamp;

/// Longer lines are not of such a file.
const LONGEST_LINE: u64 = 1 << 20;

pub(super) fn detect(args: &DetectArgs) -> Result<(), CommandError> {
    let results = results(args)?;
    fs::create_dir_all(&args.out).map_err(|error| failed(&args.out, format!("cannot be made: {error}")))?;
    for (file, result) in args.files.iter().zip(&results) {
        let unfinished = result.with_extension("csv.unfinished");
        let counts = score(file, &unfinished).and_then(|counts| {
            fs::rename(&unfinished, result)
                .map_err(|error| failed(result, format!("cannot be written: {error}")))?;
            Ok(counts)
        });
        if counts.is_err() {
            // It may not have been made at all.
            let _ = fs::remove_file(&unfinished);
        }
        let Counts { rows, anomalies } = counts?;
        let (file, result) = (file.display(), result.display());
        print(&format!(
            "{file}: {rows} rows, {anomalies} anomalies; see {result}"
        ))?;
    }
    Ok(())
}

/// The file to write for each file to read.
fn results(args: &DetectArgs) -> Result<Vec<PathBuf>, CommandError> {
    let mut names: BTreeMap<&OsStr, &Path> = BTreeMap::new();
    let mut results = Vec::with_capacity(args.files.len());
    for file in &args.files {
        let usage = |text: String| CommandError::new(ExitCode::Usage, format!("{}: {text}", file.display()));
        let name = file
            .file_name()
            .ok_or_else(|| usage("is not the name of a file".to_owned()))?;
        if let Some(other) = names.insert(name, file) {
            let other = other.display();
            return Err(usage(format!(
                "has the same name as {other}, so both would be written to the same file; write them to two directories"
            )));
        }
        let result = args.out.join(name);
        if let (Ok(read), Ok(written)) = (fs::canonicalize(file), fs::canonicalize(&result))
            && read == written
        {
            return Err(usage(
                "would be overwritten; give another directory as --out".to_owned(),
            ));
        }
        results.push(result);
    }
    Ok(results)
}

struct Counts {
    rows: u64,
    anomalies: u64,
}

fn score(file: &Path, result: &Path) -> Result<Counts, CommandError> {
    let source = File::open(file).map_err(|error| failed(file, format!("cannot be read: {error}")))?;
    let mut lines = Lines {
        file,
        input: BufReader::new(source),
        line: Vec::new(),
        number: 0,
    };
    let unwritable = |error: io::Error| failed(result, format!("cannot be written: {error}"));
    let mut out = BufWriter::new(File::create(result).map_err(unwritable)?);
    let columns = lines.columns()?;
    out.write_all(b"timestamp,value,anomaly_score,label\n")
        .map_err(unwritable)?;

    let mut scorer = Scorer::new();
    let mut counts = Counts {
        rows: 0,
        anomalies: 0,
    };
    while let Some(row) = lines.row(&columns)? {
        let score = scorer.score(row.time, row.value);
        let anomaly = score >= THRESHOLD;
        quoted(&row.time_text, &mut out).map_err(unwritable)?;
        writeln!(out, ",{},{score},{}", row.value_text, u8::from(anomaly)).map_err(unwritable)?;
        counts.rows += 1;
        counts.anomalies += u64::from(anomaly);
    }
    out.into_inner()
        .map_err(|error| unwritable(error.into_error()))?
        .sync_all()
        .map_err(unwritable)?;
    Ok(counts)
}

/// Where in a row time and value stand.
struct Columns {
    time: usize,
    value: usize,
}

struct Row {
    time: Timestamp,
    time_text: String,
    value: f64,
    value_text: String,
}

struct Lines<'f> {
    file: &'f Path,
    input: BufReader<File>,
    line: Vec<u8>,
    /// Of the line that was read last, from 1.
    number: u64,
}

impl Lines<'_> {
    fn columns(&mut self) -> Result<Columns, CommandError> {
        let Some(names) = self.next()? else {
            return Err(failed(
                self.file,
                "is empty; it must begin with the header timestamp,value",
            ));
        };
        let find = |name: &str| {
            let found = names
                .iter()
                .position(|cell| cell.trim_start_matches('\u{feff}').trim() == name);
            found.ok_or_else(|| {
                self.wrong(format!(
                    "the header has no column `{name}`; it must begin as timestamp,value"
                ))
            })
        };
        Ok(Columns {
            time: find("timestamp")?,
            value: find("value")?,
        })
    }

    /// The next row that is not empty.
    fn row(&mut self, columns: &Columns) -> Result<Option<Row>, CommandError> {
        let Some(mut cells) = self.next()? else {
            return Ok(None);
        };
        let mut cell = |at: usize, name: &str| match cells.get_mut(at) {
            Some(cell) => Ok(std::mem::take(cell)),
            None => Err(self.wrong(format!("has no `{name}`"))),
        };
        let (time_text, value_text) = (cell(columns.time, "timestamp")?, cell(columns.value, "value")?);
        let told = |text: &str| {
            text.chars()
                .take(40)
                .collect::<String>()
                .escape_debug()
                .to_string()
        };
        let time = Timestamp::from_text(&time_text)
            .map_err(|error| self.wrong(format!("`timestamp` is \"{}\": {error}", told(&time_text))))?;
        let value_text = value_text.trim().to_owned();
        match value_text.parse() {
            Ok(value) if f64::is_finite(value) => Ok(Some(Row {
                time,
                time_text,
                value,
                value_text,
            })),
            _ => Err(self.wrong(format!(
                "`value` is \"{}\", must be a finite number",
                told(&value_text)
            ))),
        }
    }

    /// The cells of the next line that is not empty.
    fn next(&mut self) -> Result<Option<Vec<String>>, CommandError> {
        loop {
            self.line.clear();
            let mut limited = io::Read::take(&mut self.input, LONGEST_LINE);
            let read = limited
                .read_until(b'\n', &mut self.line)
                .map_err(|error| failed(self.file, format!("cannot be read: {error}")))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == LONGEST_LINE {
                return Err(self.wrong("is longer than a row of numbers can be".to_owned()));
            }
            if self.line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                let line =
                    std::str::from_utf8(&self.line).map_err(|_| self.wrong("is not UTF-8".to_owned()))?;
                return Ok(Some(cells(line.trim_end_matches(['\r', '\n']))));
            }
        }
    }

    fn wrong(&self, reason: String) -> CommandError {
        failed(self.file, format!("line {}: {reason}", self.number))
    }
}

fn cells(line: &str) -> Vec<String> {
    let mut reader = Reader::new();
    // Unquoted, they are no longer than the line, and no more than its commas and one.
    let mut text = vec![0; line.len() + 1];
    let mut ends = vec![0; line.matches(',').count() + 2];
    let (mut input, mut written, mut count) = (line.as_bytes(), 0, 0);
    loop {
        let (result, read, wrote, ended) =
            reader.read_record(input, &mut text[written..], &mut ends[count..]);
        input = &input[read..];
        written += wrote;
        count += ended;
        // The empty input that comes after the line says that this is its end.
        if result != ReadRecordResult::InputEmpty {
            break;
        }
    }
    let mut begin = 0;
    let mut cells = Vec::with_capacity(count);
    for end in &ends[..count] {
        cells.push(String::from_utf8_lossy(&text[begin..*end]).into_owned());
        begin = *end;
    }
    cells
}

/// Writes a cell, in quotes where it needs them.
fn quoted(cell: &str, out: &mut impl Write) -> io::Result<()> {
    let mut writer = Writer::new();
    let mut text = vec![0; 2 * cell.len() + 2];
    let (result, _, mut written) = writer.field(cell.as_bytes(), &mut text);
    debug_assert_eq!(result, WriteResult::InputEmpty);
    written += writer.finish(&mut text[written..]).1;
    out.write_all(&text[..written])
}

fn failed(file: &Path, reason: impl std::fmt::Display) -> CommandError {
    CommandError::new(ExitCode::Failed, format!("{}: {reason}", file.display()))
}
