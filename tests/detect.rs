//! `detect` of the real binary: what it writes, what it leaves alone, and what it says of files that are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sensorhive::core::THRESHOLD;
use tempfile::TempDir;

fn detect(files: &[&Path], out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensorhive"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SENSORHIVE") {
            command.env_remove(name);
        }
    }
    command.arg("detect").args(files).arg("--out").arg(out);
    command.output().unwrap()
}

fn file(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Rows every five minutes of a quiet series with a spike.
fn rows(count: usize, spike: usize) -> Vec<String> {
    let value = |at| {
        if at == spike {
            99.5
        } else {
            20.0 + (at * 7_919 % 101) as f64 / 100.0
        }
    };
    let row = |at: usize| {
        let (day, hour, minute) = (1 + at / 288, at / 12 % 24, at % 12 * 5);
        format!("2026-03-{day:02} {hour:02}:{minute:02}:00,{}", value(at))
    };
    (0..count).map(row).collect()
}

#[test]
fn every_row_comes_out_with_its_score_and_label() {
    let directory = TempDir::new().unwrap();
    let rows = rows(2_000, 1_500);
    let input = file(
        &directory,
        "pump.csv",
        format!("timestamp,value\n{}\n", rows.join("\n")),
    );
    let out = directory.path().join("deep/er");
    let output = detect(&[&input], &out);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    let written = fs::read_to_string(out.join("pump.csv")).unwrap();
    let mut lines = written.lines();
    assert_eq!(lines.next(), Some("timestamp,value,anomaly_score,label"));
    let mut anomalies = Vec::new();
    for (at, (row, line)) in rows.iter().zip(lines.by_ref()).enumerate() {
        let rest = line
            .strip_prefix(row.as_str())
            .unwrap_or_else(|| panic!("{line} is not {row}"));
        let (score, label) = rest[1..].split_once(',').unwrap();
        let score: f64 = score.parse().unwrap();
        assert!((0.0..=1.0).contains(&score));
        assert_eq!(label, if score >= THRESHOLD { "1" } else { "0" });
        if label == "1" {
            anomalies.push(at);
        }
    }
    assert_eq!(lines.next(), None);
    assert!(anomalies.contains(&1_500), "{anomalies:?}");
    let told = format!("2000 rows, {} anomalies", anomalies.len());
    assert!(String::from_utf8_lossy(&output.stdout).contains(&told));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing but the result");
}

#[test]
fn each_file_is_a_series_of_its_own_and_the_same_each_time() {
    let directory = TempDir::new().unwrap();
    let one = file(
        &directory,
        "one.csv",
        format!("timestamp,value\n{}\n", rows(900, 700).join("\n")),
    );
    let other = file(
        &directory,
        "other.csv",
        format!("timestamp,value\n{}\n", rows(900, 800).join("\n")),
    );
    let (alone, together) = (directory.path().join("alone"), directory.path().join("together"));
    assert!(detect(&[&one], &alone).status.success());
    assert!(detect(&[&other, &one], &together).status.success());
    let read = |path: &Path| fs::read(path.join("one.csv")).unwrap();
    assert_eq!(read(&alone), read(&together));
}

#[test]
fn columns_are_found_by_their_names_and_lines_may_be_odd() {
    let directory = TempDir::new().unwrap();
    let input = file(
        &directory,
        "odd.csv",
        "\u{feff}unit,value,timestamp\r\nC, 1e3 ,\"2026-03-01T00:00:00Z\"\r\n\r\nC,-0.5,1772323500\r\nC,7,2026-03-01 00:10:00",
    );
    let output = detect(&[&input], directory.path().join("out").as_path());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        fs::read_to_string(directory.path().join("out/odd.csv")).unwrap(),
        "timestamp,value,anomaly_score,label\n2026-03-01T00:00:00Z,1e3,0,0\n1772323500,-0.5,0,0\n2026-03-01 00:10:00,7,0,0\n"
    );
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_reason() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("out");
    let header = "timestamp,value\n2026-03-01 00:00:00,1\n";
    for (name, content, line, reason) in [
        ("empty.csv", b"".to_vec(), "", "is empty"),
        (
            "columns.csv",
            b"time,value\n1,2\n".to_vec(),
            "line 1: ",
            "no column `timestamp`",
        ),
        (
            "short.csv",
            format!("{header}\n2026-03-01\n").into_bytes(),
            "line 4: ",
            "has no `value`",
        ),
        (
            "time.csv",
            format!("{header}yesterday,1\n").into_bytes(),
            "line 3: ",
            "`timestamp` is \"yesterday\"",
        ),
        (
            "text.csv",
            format!("{header}1772323500,warm\n").into_bytes(),
            "line 3: ",
            "`value` is \"warm\"",
        ),
        (
            "nan.csv",
            format!("{header}1772323500,NaN\n").into_bytes(),
            "line 3: ",
            "must be a finite number",
        ),
        (
            "huge.csv",
            format!("{header}1772323500,1e999\n").into_bytes(),
            "line 3: ",
            "must be a finite number",
        ),
        (
            "bytes.csv",
            [header.as_bytes(), b"\xff\xfe,1\n"].concat(),
            "line 3: ",
            "is not UTF-8",
        ),
        (
            "long.csv",
            [header.as_bytes(), &vec![b'1'; 2 << 20]].concat(),
            "line 3: ",
            "is longer",
        ),
    ] {
        let input = file(&directory, name, content);
        let output = detect(&[&input], &out);
        assert_eq!(output.status.code(), Some(1), "{name}");
        for part in [name, line, reason] {
            assert!(
                said(&output).contains(part),
                "{part} is missing in {}",
                said(&output)
            );
        }
        assert_eq!(
            fs::read_dir(&out).unwrap().count(),
            0,
            "{name} left something behind"
        );
    }
    let output = detect(&[&directory.path().join("nowhere.csv")], &out);
    assert!(
        said(&output).contains("nowhere.csv: cannot be read"),
        "{}",
        said(&output)
    );
}

#[test]
fn no_file_is_written_over_another_or_over_what_is_read() {
    let directory = TempDir::new().unwrap();
    let content = "timestamp,value\n1772323500,1\n";
    let input = file(&directory, "a.csv", content);
    let output = detect(&[&input], directory.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("would be overwritten"),
        "{}",
        said(&output)
    );
    assert_eq!(fs::read_to_string(&input).unwrap(), content);

    fs::create_dir(directory.path().join("b")).unwrap();
    let other = file(&directory, "b/a.csv", content);
    let out = directory.path().join("out");
    let output = detect(&[&input, &other], &out);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("has the same name as"),
        "{}",
        said(&output)
    );
    assert!(!out.exists());
}
