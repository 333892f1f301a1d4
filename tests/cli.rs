//! The command line of the real binary: what it answers, where, and with which exit code.

use std::io::Write;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

fn sensorhive(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensorhive"));
    // The settings of whoever runs the tests must not reach them.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SENSORHIVE") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

fn run(args: &[&str]) -> Output {
    sensorhive(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn config(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn help_teaches_every_subcommand_and_exit_code() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for word in [
        "run",
        "demo",
        "check-config",
        "migrate",
        "simulate",
        "detect",
        "restore-archive",
        "test-email",
        "token",
        "Examples:",
        "Exit codes:",
    ] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    for subcommand in [
        "check-config",
        "simulate",
        "detect",
        "restore-archive",
        "test-email",
        "token",
    ] {
        assert!(
            stdout(&run(&[subcommand, "--help"])).contains("Examples:"),
            "{subcommand}"
        );
    }
}

#[test]
fn the_exit_codes_of_the_help_are_those_of_the_manual() {
    let help = stdout(&run(&["--help"]));
    let manual = include_str!("../docs/operations.md");
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    let mut lines = 0;
    for line in codes.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (code, meaning) = line.split_once("  ").unwrap();
        assert!(manual.contains(&format!("| {code} | {meaning}")), "{line}");
        lines += 1;
    }
    assert_eq!(lines, 6);
}

#[test]
fn a_good_configuration_is_shown() {
    let file = config("[http]\nlisten = '127.0.0.1:9999'\n[[alerting.schedules]]\nname = 'nights'\n");
    let output = run(&["--config", file.path().to_str().unwrap(), "check-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(shown.contains("listen = \"127.0.0.1:9999\""), "{shown}");
    assert!(
        shown.contains("# Not available in this version: alerting.schedules"),
        "{shown}"
    );
}

#[test]
fn what_is_shown_is_a_good_configuration() {
    let shown = run(&["check-config"]);
    let file = config(&stdout(&shown));
    let output = run(&["check-config", "--config", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_explained_defaults_are_a_good_configuration() {
    let defaults = run(&["check-config", "--defaults"]);
    let file = config(&stdout(&defaults));
    let output = run(&["check-config", "--config", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_bad_configuration_is_told_whole_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = config("[http]\nlisten = 'x'\ncolour = 'red'\n");
    let path = file.path().to_str().unwrap();
    for subcommand in ["check-config", "run", "demo", "migrate"] {
        let output = sensorhive(&["--config", path, "--log-level", "loud", subcommand])
            .env("SENSORHIVE__STORAGE__READERS", "none")
            .current_dir(&directory)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{subcommand}");
        let error = stderr(&output);
        for part in [
            "has 4 errors",
            &format!("{path}: `http.listen` must be an address"),
            &format!("{path}: `http.colour` is not known"),
            "environment variable SENSORHIVE__STORAGE__READERS: `storage.readers` must be",
            "flag --log-level: `log.level` must be",
        ] {
            assert!(error.contains(part), "{part} is missing in\n{error}");
        }
        assert_eq!(stdout(&output), "");
        assert_eq!(
            std::fs::read_dir(&directory).unwrap().count(),
            0,
            "{subcommand} left something behind"
        );
    }
}

#[test]
fn a_flag_beats_the_environment() {
    let output = sensorhive(&["check-config", "--set", "http.requests_per_second=7"])
        .env("SENSORHIVE__HTTP__REQUESTS_PER_SECOND", "6")
        .output()
        .unwrap();
    assert!(
        stdout(&output).contains("requests_per_second = 7"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn wrong_usage_exits_with_two() {
    for args in [
        &["fly"][..],
        &["--set", "nothing", "check-config"],
        &["simulate", "--sensors", "0"],
        &["simulate", "--fault", "gremlins"],
        &["simulate", "--url", "nowhere"],
        &["token", "create", "--role", "king"],
        &["test-email"],
        &["test-email", "--receiver", "nobody"],
        &["--config", "/no/such/file.toml", "check-config"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn the_environment_may_hold_what_is_not_text() {
    use std::os::unix::ffi::OsStrExt;

    let output = sensorhive(&["check-config"])
        .env("OTHER", std::ffi::OsStr::from_bytes(b"\xff"))
        .env("SENSORHIVE__HTTP__LISTEN", std::ffi::OsStr::from_bytes(b"\xff"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("SENSORHIVE__HTTP__LISTEN"),
        "{}",
        stderr(&output)
    );
}
