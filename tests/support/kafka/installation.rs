//! The Java and the jars of Kafka that are here.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub struct Installation {
    jars: PathBuf,
}

impl Installation {
    /// Looks where `SENSORHIVE_TEST_KAFKA_JARS` says, then in `kafka` beside the directories that Cargo builds into. The error
    /// says what is missing.
    pub fn find() -> Result<&'static Self, &'static str> {
        static FOUND: OnceLock<Result<Installation, String>> = OnceLock::new();
        FOUND
            .get_or_init(Self::look)
            .as_ref()
            .map_err(|missing| missing.as_str())
    }

    /// Java, about to run a class of Kafka's, apart from signals of the terminal.
    pub fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        for (name, _) in std::env::vars_os() {
            // Java would take them for options.
            if name.to_string_lossy().contains("JAVA") {
                command.env_remove(name);
            }
        }
        command
            .args([
                "-Xms64m",
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-XX:-UsePerfData",
            ])
            .args([
                "-Djava.awt.headless=true",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
            ])
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    fn look() -> Result<Self, String> {
        let jars = match std::env::var_os("SENSORHIVE_TEST_KAFKA_JARS") {
            Some(directory) => PathBuf::from(directory),
            // target/debug/deps/TEST
            None => std::env::current_exe()
                .ok()
                .and_then(|test| Some(test.ancestors().nth(3)?.join("kafka")))
                .unwrap_or_default(),
        };
        let is_broker =
            |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("kafka_2.13-");
        let has_broker = std::fs::read_dir(&jars)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| is_broker(&entry));
        if !has_broker {
            return Err(
                "Kafka with a real broker, but for what a mock of one can show: its jars are not there; `. scripts/setup.sh; need_kafka` \
                 fetches them"
                    .to_owned(),
            );
        }
        match Command::new("java").arg("-version").stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(Self { jars }),
            _ => Err("Kafka with a real broker, but for what a mock of one can show: no Java to run it; install openjdk-17-jre-headless".to_owned()),
        }
    }
}
