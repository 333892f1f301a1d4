//! Two services in one group on one database, which a test may kill and start again.

use std::sync::Arc;

use super::traffic::{LATENESS, THRESHOLD, WINDOW};
use crate::instance::{Instance, Place, Starting};
use crate::kafka::{Broker, Topic};
use crate::plant;
use crate::postgres::{Database, Flavor, Server};

pub const SESSION: &str = "4000";
pub const HEARTBEAT: &str = "500";

pub struct Pair {
    pub a: Instance,
    pub b: Instance,
    pub topic: Arc<Topic>,
    pub database: Database,
    token: String,
    /// Of a and b.
    pub places: [Arc<Place>; 2],
}

impl Pair {
    /// On a new topic; `consumers` are those of a and b. `None` where there is no PostgreSQL.
    pub async fn start(broker: &Broker, partitions: i32, consumers: [u16; 2]) -> Option<Self> {
        let database = Server::shared().await?.database(Flavor::Plain).await?;
        let topic = Arc::new(broker.topic("fleet", partitions).await);
        let places = [("a", consumers[0]), ("b", consumers[1])]
            .map(|(name, consumers)| place(broker, &topic, &database, name, consumers));
        let a = Instance::start(&places[0]).await;
        let token = a.token.clone();
        let b = Starting::new(&places[1], &[]).ready(Some(token.clone())).await;
        Some(Self {
            a,
            b,
            topic,
            database,
            token,
            places,
        })
    }

    /// After it has ended or was killed.
    pub async fn start_a(&mut self) {
        self.a = self.again(0).await;
    }

    pub async fn start_b(&mut self) {
        self.b = self.again(1).await;
    }

    async fn again(&self, which: usize) -> Instance {
        let starting = Starting::new(&self.places[which], &[]);
        starting.ready(Some(self.token.clone())).await
    }
}

impl Drop for Pair {
    /// Shows what they logged if the test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.places
                .iter()
                .for_each(|place| eprintln!("{}\n", place.log()));
        }
    }
}

fn place(broker: &Broker, topic: &Topic, database: &Database, name: &str, consumers: u16) -> Arc<Place> {
    let more = format!(
        "consumers = {consumers}\noptions = {{ 'session.timeout.ms' = {SESSION}, 'heartbeat.interval.ms' = {HEARTBEAT} }}"
    );
    let settings = format!(
        "{}\n[storage]\nshared = true\ninstance = '{name}'\nsnapshot_tail = 32\nsnapshot_interval = '2s'\nwrite_timeout = '5s'\n
         [[series]]\nmatch = {{ sensor = 'f*' }}\nwindows = ['{}s']\nlateness = '{}s'\nidle_after = '10h'\n
         detectors = [{{ kind = 'jump', threshold = {THRESHOLD:?} }}]\n",
        plant::settings(broker, topic, &more),
        WINDOW / 1_000_000,
        LATENESS / 1_000_000,
    );
    let url = format!("storage.url={}", database.url());
    Place::new(
        &settings,
        &[&url, "storage.timescaledb=off", "limits.batch_readings=500"],
    )
}
