//! A Kafka broker to make topics on: shared by the tests of a binary, or private to one that breaks it.

use std::ops::Deref;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use rustix::process::Signal;
use tokio::sync::OnceCell;

use super::installation::Installation;
use super::process::Process;
use super::report;

/// How long a broker may take to come up, or to go down, before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A broker that runs.
pub struct Broker {
    address: String,
}

enum Shared {
    Given(Broker),
    Own(Private),
}

impl Broker {
    /// The broker that all tests of a binary share; it is not to be broken. `None`, and a line that says so, where there is
    /// none.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Shared>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(async || {
            if let Ok(address) = std::env::var("SENSORHIVE_TEST_KAFKA") {
                return Some(Shared::Given(Self { address }));
            }
            Some(Shared::Own(Private::with(&[]).await?))
        });
        Some(match shared.await.as_ref()? {
            Shared::Given(broker) => broker,
            Shared::Own(private) => &private.broker,
        })
    }

    /// A broker of one's own.
    pub async fn private() -> Option<Private> {
        Private::with(&[]).await
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client's configuration that leads here.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        // Its words on brokers that tests break would be noise.
        config.set("log_level", "0");
        config
    }
}

/// A broker that belongs to one test, to be broken. It ends with this value.
pub struct Private {
    broker: Broker,
    process: Process,
}

impl Private {
    /// With names and values of `server.properties`. `None`, and a line that says why, where there can be none.
    pub async fn with(settings: &[(&str, String)]) -> Option<Self> {
        let installation = match Installation::find() {
            Ok(installation) => installation,
            Err(missing) => {
                assert!(!report::everything_is_required(), "{missing}");
                report::skipped(missing);
                return None;
            }
        };
        let settings: Vec<_> = settings.to_vec();
        let process = Process::create(installation, &settings);
        let private = Self {
            broker: Broker {
                address: process.address.to_string(),
            },
            process,
        };
        private.start().await;
        Some(private)
    }

    /// SIGKILL. It is gone when this returns.
    pub fn kill(&self) {
        self.process.signal(Signal::KILL);
        self.process.reap();
    }

    /// Starts it again on the same port and directory, after it was killed or stopped. It answers when this returns.
    pub async fn start(&self) {
        self.process.spawn();
        self.until("the broker to answer", || {
            assert!(
                self.process.is_alive(),
                "the broker ended:\n{}",
                self.process.log()
            );
            let producer: BaseProducer = self.config().create().unwrap();
            let asked = producer.client().fetch_metadata(None, Duration::from_millis(500));
            asked.is_ok_and(|metadata| !metadata.brokers().is_empty())
        })
        .await;
    }

    /// As SIGTERM does.
    pub async fn stop(&self) {
        self.process.signal(Signal::TERM);
        self.until("the broker to end", || !self.process.is_alive()).await;
        self.process.reap();
    }

    /// SIGSTOP: connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Where it and its log are.
    pub fn directory(&self) -> &std::path::Path {
        &self.process.directory
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let asking = async {
            while !tokio::task::block_in_place(&is_so) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, asking).await.is_err() {
            panic!("waited in vain for {what}:\n{}", self.process.log());
        }
    }
}

impl Deref for Private {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}
