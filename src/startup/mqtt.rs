//! From the settings of an MQTT source to what it is told.

use std::time::Duration;

use crate::actors::ingest::IntakeSettings;
use crate::actors::ingest::mqtt::{Broker, MqttOptions, Qos, StatusTopics, TlsFiles, Version};
use crate::settings::{MqttSettings, MqttVersion, PayloadSettings, Retained};

/// How long a broker of version 5 keeps the session while we are away.
const SESSION_EXPIRY: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn options(settings: &MqttSettings) -> MqttOptions {
    let brokers = settings.brokers.iter().map(|broker| Broker {
        host: broker.host.clone(),
        port: broker.port,
        tls: broker.tls,
    });
    let tls = &settings.tls;
    MqttOptions {
        brokers: brokers.collect(),
        version: match settings.version {
            MqttVersion::V3 => Version::V3,
            MqttVersion::V5 => Version::V5,
        },
        client_id: settings.client_id.clone(),
        status: settings.status.as_ref().map(|status| StatusTopics {
            topics: status.topics.clone(),
            online: status.online.clone(),
            offline: status.offline.clone(),
        }),
        qos: match settings.qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        },
        username: settings.username.clone(),
        password_file: settings.password_file.clone(),
        tls: TlsFiles {
            ca: tls.ca_file.clone(),
            identity: tls.cert_file.clone().zip(tls.key_file.clone()),
        },
        session_expiry: settings.session_expiry.unwrap_or(SESSION_EXPIRY),
        receive_maximum: settings.receive_maximum,
        keep_alive: settings.keep_alive,
        max_packet: usize::try_from(settings.max_packet).unwrap_or(usize::MAX),
        retained: settings.retained == Retained::Store,
    }
}

/// Its way in: as that of any source, with what its topics and payloads mean.
pub(super) fn intake(settings: &MqttSettings, intakes: &IntakeSettings) -> IntakeSettings {
    let mut intake = intakes.clone();
    let payload = PayloadSettings {
        default_sensor: settings.default_sensor.as_ref(),
        default_metric: settings.default_metric.as_ref(),
        mapping: settings.mapping.as_ref(),
        topics: &settings.topics,
    };
    intake.mapping = payload.json(intake.mapping.max_items);
    intake
}
