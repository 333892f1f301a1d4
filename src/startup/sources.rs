//! Starting the configured sources, and the service's own.

use std::path::Path;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Addr, Handler};

use super::pipeline::Pipeline;
use super::{Sources, StartError, file, http_poll, kafka, mqtt, plan, redis};
use crate::actors::ingest::file::FileFetch;
use crate::actors::ingest::http_poll::HttpPollFetch;
use crate::actors::ingest::kafka::KafkaSource;
use crate::actors::ingest::mqtt::MqttSource;
use crate::actors::ingest::redis::RedisFetch;
use crate::actors::ingest::{
    Feed, Fetch, FetchedSource, HostFeed, Intake, IntakeSettings, OwnFeed, PolledSource, Seek, SimulatedFeed,
    SourceCommand,
};
use crate::actors::supervision::Supervise;
use crate::domain::{Home, SourceName};
use crate::machine::MachineReader;
use crate::settings::{KafkaSettings, Settings, SourceSettings, StorageUrl};
use crate::simulate::Simulator;
use crate::web::SourceEntry;

/// How often our own figures are looked at.
const OWN_INTERVAL: Duration = Duration::from_secs(1);
/// How often simulated sensors are asked what they have to say.
const SIMULATED_INTERVAL: Duration = Duration::from_millis(100);

/// Starts all sources on a thread of their own.
pub(super) fn start(
    pipeline: &mut Pipeline,
    settings: &Settings,
    intakes: &IntakeSettings,
) -> Result<Sources, StartError> {
    let mut starter = Starter {
        arbiter: pipeline.arbiter(),
        pipeline,
        intakes,
        own_home: plan::own_home(settings),
        sources: Sources::new(),
    };
    let own = OwnFeed {
        sensor: plan::own_sensor(settings, "sensorhive"),
        statistics: starter.pipeline.statistics.clone(),
    };
    starter.start_feed(&plan::name("sensorhive"), "own", OWN_INTERVAL, own);
    for (name, source) in settings.sources.iter().filter(|(_, source)| source.enabled()) {
        match source {
            SourceSettings::File(source) => {
                let (intake, options) = (file::intake(source, intakes), file::options(source, settings));
                let figures = starter.pipeline.metrics.files.of(name);
                starter.start_fetch(name, "file", intake, FileFetch::new(options, figures));
            }
            SourceSettings::Host(host) => {
                let data = match &settings.storage.url {
                    StorageUrl::Sqlite(path) => path.parent().filter(|path| *path != Path::new("")),
                    StorageUrl::Postgres(_) => None,
                };
                let sensor = plan::own_sensor(settings, "host");
                let reader = MachineReader::new(data.unwrap_or(Path::new(".")))?;
                starter.start_feed(name, "host", host.interval, HostFeed::new(reader, sensor));
            }
            SourceSettings::HttpPoll(poll) => {
                let options = http_poll::options(poll).map_err(|error| StartError::HttpPoll {
                    name: name.clone(),
                    error,
                })?;
                let intake = http_poll::intake(poll, intakes);
                let figures = starter.pipeline.metrics.urls.of(name);
                starter.start_fetch(name, "http_poll", intake, HttpPollFetch::new(options, figures));
            }
            SourceSettings::Kafka(kafka) => starter.start_kafka(name, kafka, settings)?,
            SourceSettings::Mqtt(settings) => {
                let (store, figures) = (
                    starter.pipeline.store.clone(),
                    starter.pipeline.metrics.mqtt.of(name),
                );
                let options = mqtt::options(settings);
                starter.start(name, "mqtt", mqtt::intake(settings, intakes), move |intake| {
                    MqttSource::new(options, intake, store, figures)
                });
            }
            SourceSettings::Redis(source) => {
                let options = redis::options(source, settings).map_err(|error| StartError::Redis {
                    name: name.clone(),
                    error,
                })?;
                let intake = redis::intake(source, intakes);
                let figures = starter.pipeline.metrics.redis.of(name);
                starter.start_fetch(name, "redis", intake, RedisFetch::new(options, figures));
            }
            SourceSettings::Simulated(simulated) => {
                let begin = starter.pipeline.rails.clock().now();
                let simulator =
                    Simulator::new(simulated.simulator(), begin).map_err(|error| StartError::Simulator {
                        name: name.clone(),
                        error,
                    })?;
                let feed = SimulatedFeed::new(simulator, intakes.batch_readings as usize);
                starter.start_feed(name, "simulated", SIMULATED_INTERVAL, feed);
            }
        }
    }
    Ok(starter.sources)
}

struct Starter<'p> {
    arbiter: actix::ArbiterHandle,
    pipeline: &'p mut Pipeline,
    intakes: &'p IntakeSettings,
    /// Where sensors live that this instance alone can have.
    own_home: Option<Home>,
    sources: Sources,
}

impl Starter<'_> {
    fn start_feed<F: Feed + Send>(
        &mut self,
        name: &SourceName,
        kind: &'static str,
        every: Duration,
        feed: F,
    ) {
        let home = self.own_home.clone();
        self.start(name, kind, self.intakes.clone(), move |intake| {
            let intake = match &home {
                Some(home) => intake.at_home(home),
                None => intake,
            };
            PolledSource::new(feed, intake, every)
        });
    }

    fn start_fetch<F: Fetch + Send + Unpin>(
        &mut self,
        name: &SourceName,
        kind: &'static str,
        settings: IntakeSettings,
        fetch: F,
    ) {
        let store = self.pipeline.store.clone();
        self.start(name, kind, settings, move |intake| {
            FetchedSource::new(fetch, intake, store)
        });
    }

    fn start_kafka(
        &mut self,
        name: &SourceName,
        source: &KafkaSettings,
        settings: &Settings,
    ) -> Result<(), StartError> {
        let client = kafka::consumer(source).map_err(|error| StartError::Kafka {
            name: name.clone(),
            error,
        })?;
        let mut intakes = self.intakes.clone();
        intakes.mapping = source.payload().json(intakes.mapping.max_items);
        let parts = kafka::parts(source, client, settings);
        let (ownership, metrics) = (self.pipeline.ownership(), self.pipeline.metrics.clone());
        let address = self.start(name, "kafka", intakes, move |intake| {
            KafkaSource::new(parts(intake, ownership, metrics))
        });
        if let Some(entry) = self.sources.get_mut(name) {
            entry.seek = Some(address.recipient::<Seek>());
        }
        Ok(())
    }

    /// Starts any source: an actor with a way in of its own.
    fn start<S>(
        &mut self,
        name: &SourceName,
        kind: &'static str,
        settings: IntakeSettings,
        make: impl FnOnce(Intake) -> S + Send + 'static,
    ) -> Addr<S>
    where
        S: Supervise + Handler<SourceCommand>,
        S::Context: ToEnvelope<S, SourceCommand>,
    {
        let intake = Intake::new(name.clone(), self.pipeline.rails.clone(), settings);
        let path = format!("ingest/{name}");
        let given = intake.clone();
        let (address, handle) = self
            .pipeline
            .supervise(&self.arbiter, &path, "Source", move || make(given));
        let entry = SourceEntry {
            kind,
            handle,
            control: address.clone().recipient(),
            seek: None,
            intake,
        };
        self.sources.insert(name.clone(), entry);
        address
    }
}
