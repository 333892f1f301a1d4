//! The command line: subcommands, flags, and help that teaches.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

use crate::domain::{Day, DayError};
use crate::settings::BrokerUrl;
use crate::settings::LogFormat;
use crate::simulate::{Fault, SimulatorSettings};

const ROOT_HELP: &str = "\
Examples:
  sensorhive                                    Watch this machine; serve http://127.0.0.1:8080
  sensorhive demo                               The same, with 200 simulated sensors that misbehave
  sensorhive --config my.toml check-config      Find every mistake in a configuration
  sensorhive --set http.listen=127.0.0.1:9090   Change a setting for one run
  SENSORHIVE__LOG__LEVEL=debug sensorhive       The same by the environment
  curl -s localhost:8080/api/metrics/latest     Ask what was measured last

Exit codes:
  0  done, or stopped cleanly (SIGTERM, Ctrl-C)
  1  failed while running
  2  the configuration or the command line is wrong
  3  the address to listen on is taken
  4  the data directory or the database cannot be used
  5  the database was made by a newer version of sensorhive";

const CHECK_HELP: &str = "\
Examples:
  sensorhive --config my.toml check-config      Print every mistake, or what is in force
  sensorhive check-config --defaults > my.toml  Start a configuration from the explained defaults";

const SIMULATE_HELP: &str = "\
Examples:
  sensorhive simulate --count 10                Ten readings as JSON lines
  sensorhive simulate --sensors 1000 --rate 5000 --duration 1m --url http://localhost:8080
                                                Feed a running instance for a minute
  sensorhive simulate --kafka localhost:9092 --rate 1000
                                                Write to a topic, sensor-readings-raw, keyed by sensor
  sensorhive simulate --mqtt mqtt://localhost:1883 --topic 'plant/{sensor_id}/temperature'
                                                Publish to a broker, without end
  sensorhive simulate --fault drift --fault stuck --seed 7
                                                These faults beside the spikes, the same each time";

const RESTORE_HELP: &str = "\
Examples:
  sensorhive restore-archive --from 2026-03-01 --to 2026-03-07 --dry-run
                                                Read these days' objects and check them, change nothing
  sensorhive restore-archive --from 2026-03-01 --to 2026-03-07 --keep 30d
                                                Bring them back; in 30 days they are dropped again
  sensorhive restore-archive --from 2026-03-01 --to 2026-03-07 --release
                                                They are not needed any more: let them be dropped again
  sensorhive restore-archive --object readings/2026/03/01-1.parquet

Every object is read whole and checked before any of its readings is put back. A reading that is there already is counted
and left alone, also where its value is another one; so it does no harm to run this twice. It works beside a running
service, except where an archive holds sensors or sequences that the database does not know (one from another
database): then stop the service first. Days that came back are neither archived nor dropped until --keep is over or they
are released.";

const DETECT_HELP: &str = "\
Examples:
  sensorhive detect pump.csv --out scores       Read pump.csv, write scores/pump.csv
  sensorhive detect data/*.csv --out scores     One file a series

A file begins with a header that names the columns timestamp and value; others are passed over. Times are RFC 3339,
YYYY-MM-DD HH:MM:SS in UTC, or a number of s, ms, µs or ns since 1970. What is written has the columns timestamp, value,
anomaly_score (0 to 1) and label: 1 where the score is 0.5 or more, else 0. Every file is a series of its own, read once, with
the detector `ensemble` as the service runs it.";

const TOKEN_HELP: &str = "\
Examples:
  sensorhive token create --role admin          Print a new token, once; also while the service runs
  sensorhive token create --role operator --name gateway-7
  sensorhive token list
  sensorhive token revoke gateway-7";

const TEST_EMAIL_HELP: &str = "\
Examples:
  sensorhive --config my.toml test-email        Send a sample to every receiver of the kind email
  sensorhive --config my.toml test-email --receiver ops
                                                To this one, of any kind

It says what each server answered, and ends with 0 where all have taken the sample, else with 1.";

/// Watches sensors. Every sensor is an actor of its own, and nothing is acknowledged before it is stored.
#[derive(Debug, Parser)]
#[command(name = "sensorhive", version, after_help = ROOT_HELP, propagate_version = true)]
pub struct Cli {
    /// The file with your settings; what it leaves out keeps its default
    #[arg(long, short, global = true, value_name = "FILE", env = "SENSORHIVE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Sets one key of the configuration, beating file and environment; can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
    /// off, error, warn, info, debug, trace, or a list such as info,sensorhive::web=debug
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the service (what happens without a subcommand, too)
    Run,
    /// Runs the service with 200 simulated sensors that misbehave, on a database of its own
    Demo,
    /// Checks the configuration: prints every mistake and exits with 2, or prints what is in force
    #[command(after_help = CHECK_HELP)]
    CheckConfig {
        /// Print the defaults, with every key explained, and check nothing
        #[arg(long)]
        defaults: bool,
    },
    /// Brings the database to the version of this program; `run` does the same when it starts
    Migrate,
    /// Brings readings back from the cold archive into the database
    #[command(after_help = RESTORE_HELP)]
    RestoreArchive(RestoreArgs),
    /// Makes up sensors: as JSON lines, or sent to a running instance
    #[command(after_help = SIMULATE_HELP)]
    Simulate(Box<SimulateArgs>),
    /// Sends a sample of an alert to receivers, and says what they answered
    #[command(after_help = TEST_EMAIL_HELP)]
    TestEmail(TestEmailArgs),
    /// Looks for anomalies in CSV files of one series each
    #[command(after_help = DETECT_HELP, arg_required_else_help = true)]
    Detect(DetectArgs),
    /// Makes, lists and revokes the tokens that the API asks for
    #[command(after_help = TOKEN_HELP, arg_required_else_help = true)]
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
}

#[derive(Debug, Clone, Args)]
pub struct TestEmailArgs {
    /// The name of a receiver in [alerting.receivers]; without it, all of the kind email
    #[arg(long, value_name = "NAME")]
    pub receiver: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["from", "to", "object"]))]
pub struct RestoreArgs {
    /// The first day, in UTC; without it, the first there is
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub from: Option<Day>,
    /// The last day; without it, the last there is
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub to: Option<Day>,
    /// One object, by its path in the archive
    #[arg(long, value_name = "PATH", conflicts_with_all = ["from", "to"])]
    pub object: Option<String>,
    /// Read and check everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long the days are kept in the database, such as 30d; without it, until they are released
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "release")]
    pub keep: Option<Duration>,
    /// Bring nothing back, but let restored days be archived and dropped again
    #[arg(long, conflicts_with_all = ["object", "dry_run"])]
    pub release: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DetectArgs {
    /// The files to read
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The directory to write to; it is made where there is none
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("broker").args(["kafka", "mqtt"]))]
pub struct SimulateArgs {
    /// How many sensors
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub sensors: u32,
    /// Readings a second, of all sensors together
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub rate: f64,
    /// The same seed gives the same readings
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How likely each reading is far off, 0 to 1
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.02, value_parser = probability)]
    pub spikes: f64,
    /// What one sensor in twenty does wrong; can be repeated
    #[arg(long = "fault", value_name = "FAULT", value_parser = fault())]
    pub faults: Vec<Fault>,
    /// Stop after this time, such as 30s or 5m; without it and --count, never
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Stop after this many readings; without --url they are printed at once
    #[arg(long)]
    pub count: Option<u64>,
    /// Send the readings to the instance at this address instead of printing them
    #[arg(long, value_parser = url)]
    pub url: Option<String>,
    /// Write the readings to Kafka instead of printing them; a broker, or several with commas
    #[arg(long, value_name = "BROKERS", conflicts_with = "url")]
    pub kafka: Option<String>,
    /// Publish the readings to this MQTT broker instead, one a message, with QoS 1
    #[arg(long, value_name = "mqtt://HOST:PORT", value_parser = broker, conflicts_with_all = ["url", "kafka"])]
    pub mqtt: Option<BrokerUrl>,
    /// The topic; for MQTT, {sensor_id} in it stands for each message's sensor. Without it: sensor-readings-raw for Kafka, where it
    /// must exist, sensorhive/{sensor_id} for MQTT
    #[arg(long, requires = "broker")]
    pub topic: Option<String>,
    /// Who we are, to the MQTT broker
    #[arg(long, value_name = "NAME", requires = "mqtt")]
    pub username: Option<String>,
    /// A file that holds the password for the MQTT broker
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    #[command(flatten)]
    pub producer: ProducerArgs,
    /// The token to send them with, where the instance asks for one
    #[arg(long, env = "SENSORHIVE_TOKEN", hide_env_values = true, requires = "url")]
    pub token: Option<SecretString>,
}

/// How readings are written to Kafka.
#[derive(Debug, Clone, Args)]
pub struct ProducerArgs {
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, default_value = "none", requires = "kafka",
          value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    pub compression: String,
    /// The most messages of one request
    #[arg(long, value_name = "MESSAGES", default_value_t = 10_000, requires = "kafka",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch: u32,
    /// How long a message waits for others to go with
    #[arg(long, value_name = "TIME", default_value = "5ms", requires = "kafka",
          value_parser = humantime::parse_duration)]
    pub linger: Duration,
}

impl SimulateArgs {
    /// As the simulator takes them.
    pub fn settings(&self) -> SimulatorSettings {
        SimulatorSettings {
            sensors: self.sensors,
            rate: self.rate,
            seed: self.seed,
            spike_probability: self.spikes,
            faults: self.faults.iter().copied().collect(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it, once; only its hash is kept
    Create {
        #[arg(long, value_enum)]
        role: RoleArg,
        /// What it is for, to tell it from others
        #[arg(long)]
        name: Option<String>,
    },
    /// Lists the tokens: name, role, when made; never the token itself
    List,
    /// Makes a token worthless, at once
    Revoke {
        /// As `token list` shows it
        name: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// May do everything
    Admin,
    /// May send readings, acknowledge and silence
    Operator,
    /// May read
    Viewer,
}

fn day(text: &str) -> Result<Day, String> {
    text.parse().map_err(|error: DayError| error.to_string())
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write KEY=VALUE, such as http.listen=127.0.0.1:9090"),
    }
}

fn fault() -> impl TypedValueParser<Value = Fault> {
    PossibleValuesParser::new(Fault::ALL.map(Fault::as_str)).try_map(|name| name.parse::<Fault>())
}

fn probability(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(probability) if (0.0..=1.0).contains(&probability) => Ok(probability),
        _ => Err("must be a number from 0 to 1"),
    }
}

fn rate(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("must be a number from 0.001 to 10000000"),
    }
}

fn url(text: &str) -> Result<String, &'static str> {
    match reqwest::Url::parse(text) {
        Ok(url) if url.scheme() == "http" && url.has_host() => Ok(text.trim_end_matches('/').to_owned()),
        Ok(url) if url.scheme() == "https" => Err("https is not available in this version"),
        _ => Err("must be an address such as http://localhost:8080"),
    }
}

fn broker(text: &str) -> Result<BrokerUrl, &'static str> {
    match BrokerUrl::parse(text) {
        Some(broker) if broker.tls => Err("mqtts is not available here"),
        Some(broker) => Ok(broker),
        None => Err("must be an address such as mqtt://localhost:1883"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn without_a_subcommand_it_runs() {
        let cli = Cli::try_parse_from(["sensorhive", "--set", "a.b = c=d"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.set, [("a.b".to_owned(), "c=d".to_owned())]);
    }

    #[test]
    fn simulate_takes_the_faults_it_is_given() {
        let faults = |args: &[&str]| {
            let args = ["sensorhive", "simulate"].iter().chain(args);
            match Cli::try_parse_from(args).unwrap().command {
                Some(Command::Simulate(args)) => args.settings().faults,
                other => panic!("{other:?}"),
            }
        };
        assert!(faults(&[]).is_empty());
        let two = faults(&["--fault", "nan", "--fault", "far-future"]);
        assert_eq!(two.to_string(), "nan,far-future");
    }

    #[test]
    fn a_token_is_never_shown() {
        let args = [
            "sensorhive",
            "simulate",
            "--url",
            "http://localhost:1",
            "--token",
            "hunter2",
        ];
        let shown = format!("{:?}", Cli::try_parse_from(args).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
