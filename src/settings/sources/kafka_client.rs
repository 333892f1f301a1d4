//! What the settings of everything that talks to a Kafka cluster have in common.
//!
//! Invariant: no option that is passed through to the client holds a secret.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Deserializer};

use super::kafka::KafkaTls;

pub(in crate::settings) fn is_topic(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}

/// What to say of a name that is none.
pub(in crate::settings) fn no_topic(name: &str) -> String {
    format!(
        "has \"{}\", which no topic can be called; names have letters, digits, `.`, `_` and `-`",
        name.escape_debug()
    )
}

pub(in crate::settings) fn tls_problem(tls: Option<&KafkaTls>) -> Option<(String, String)> {
    let tls = tls.filter(|tls| tls.certificate_file.is_some() != tls.key_file.is_some());
    tls.map(|_| {
        (
            "tls.certificate_file".to_owned(),
            "and `tls.key_file` need each other".to_owned(),
        )
    })
}

/// What is wrong with options that are passed through; `refused` says why the one who asks may not have one.
pub(in crate::settings) fn option_problems(
    options: &BTreeMap<String, String>,
    refused: fn(&str) -> Option<&'static str>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (option, value) in options {
        let key = format!("options.{option}");
        if let Some(why) = refused(option).or_else(|| refused_option(option)) {
            found.push((key, why.to_owned()));
            continue;
        }
        let mut config = ClientConfig::new();
        config.set(option, value);
        if let Err(KafkaError::ClientConfig(_, why, ..)) = config.create_native_config() {
            found.push((key, format!("is not understood by the Kafka client: {why}")));
        }
    }
    found
}

/// Why an option of librdkafka may never be set.
fn refused_option(option: &str) -> Option<&'static str> {
    Some(match option {
        "statistics.interval.ms" | "plugin.library.paths" => "is not allowed here",
        "bootstrap.servers" | "metadata.broker.list" => "is not allowed here: set `brokers`",
        "sasl.password" | "sasl.username" | "sasl.mechanism" | "sasl.mechanisms" => {
            "is not allowed here: set `sasl`, with a `password_file`"
        }
        "ssl.key.password" | "ssl.keystore.password" | "ssl.key.pem" | "sasl.oauthbearer.client.secret" => {
            "is not allowed: secrets are read from files of their own"
        }
        _ => return None,
    })
}

/// A list, or text with commas.
pub(in crate::settings) fn names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        Text(String),
        List(Vec<String>),
    }

    let expected = |_| serde::de::Error::custom("must be a list of names, or text with commas between them");
    let names = match Names::deserialize(deserializer).map_err(expected)? {
        Names::Text(text) => text.split(',').map(str::to_owned).collect(),
        Names::List(list) => list,
    };
    let trimmed = names
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty());
    Ok(trimmed.map(str::to_owned).collect())
}

/// A table of text, numbers and booleans.
pub(in crate::settings) fn options<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Bool(bool),
        Integer(i64),
        Float(f64),
        Text(String),
    }

    let options = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
    let text = |(option, value)| {
        let value = match value {
            Scalar::Bool(value) => value.to_string(),
            Scalar::Integer(value) => value.to_string(),
            Scalar::Float(value) => value.to_string(),
            Scalar::Text(text) => text,
        };
        (option, value)
    };
    Ok(options.into_iter().map(text).collect())
}
