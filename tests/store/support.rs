//! What the tests of every store share: a database of one's own, and short ways to say batches.

use std::time::Duration;

use sensorhive::domain::*;
use sensorhive::storage::*;

use crate::postgres_server::{Database, Flavor, Server};

/// A database that lives as long as the fixture. Opening it twice is what two processes do.
pub trait Fixture: Sized {
    type Store: Store;
    /// How many random databases are worth their time.
    const CASES: u32;
    /// `None` where the database is not installed here.
    async fn new() -> Option<Self>;
    async fn open(&self) -> Self::Store {
        self.open_with(Wanted::default()).await
    }
    /// With an outbox for these.
    async fn open_with(&self, outbox: Wanted) -> Self::Store;
}

pub struct Sqlite {
    pub directory: tempfile::TempDir,
}

impl Sqlite {
    pub fn settings(&self) -> SqliteSettings {
        let mut settings = SqliteSettings::new(self.directory.path().join("data/sensorhive.db"));
        settings.busy_timeout = Duration::from_millis(50);
        settings.readers = 2;
        settings
    }
}

impl Fixture for Sqlite {
    type Store = SqliteStore;
    const CASES: u32 = 48;

    async fn new() -> Option<Self> {
        Some(Self {
            directory: tempfile::tempdir().unwrap(),
        })
    }

    async fn open_with(&self, outbox: Wanted) -> SqliteStore {
        let mut settings = self.settings();
        settings.outbox = outbox;
        SqliteStore::open(&settings).await.unwrap()
    }
}

/// A fixture on a server, with a way to its database past the store.
pub trait OnPostgres: Fixture<Store = PostgresStore> {
    fn database(&self) -> &Database;
    fn settings(&self) -> PostgresSettings;

    /// One of several instances, under its own name.
    async fn join(&self, name: &str) -> (PostgresStore, InstanceId) {
        let mut settings = self.settings();
        settings.shared = true;
        let (store, instance) = (
            PostgresStore::open(&settings).await.unwrap(),
            InstanceId(name.into()),
        );
        store.claim_writer(&instance).await.unwrap();
        (store, instance)
    }
}

pub struct PlainPostgres(Database);
pub struct TimescalePostgres(Database);

fn postgres(database: &Database) -> PostgresSettings {
    let mut settings = PostgresSettings::from_url(database.url()).unwrap();
    settings.readers = 2;
    settings
}

impl Fixture for PlainPostgres {
    type Store = PostgresStore;
    const CASES: u32 = 12;

    async fn new() -> Option<Self> {
        Server::shared().await?.database(Flavor::Plain).await.map(Self)
    }

    async fn open_with(&self, outbox: Wanted) -> PostgresStore {
        let mut settings = self.settings();
        settings.outbox = outbox;
        PostgresStore::open(&settings).await.unwrap()
    }
}

impl Fixture for TimescalePostgres {
    type Store = PostgresStore;
    const CASES: u32 = 12;

    async fn new() -> Option<Self> {
        Server::shared()
            .await?
            .database(Flavor::Timescale)
            .await
            .map(Self)
    }

    async fn open_with(&self, outbox: Wanted) -> PostgresStore {
        let mut settings = self.settings();
        settings.outbox = outbox;
        PostgresStore::open(&settings).await.unwrap()
    }
}

/// TimescaleDB whose job compresses what is stored here, which is old, soon after each time the store is opened.
pub struct Compressing(TimescalePostgres);

impl Fixture for Compressing {
    type Store = PostgresStore;
    const CASES: u32 = 12;

    async fn new() -> Option<Self> {
        TimescalePostgres::new().await.map(Self)
    }

    async fn open_with(&self, outbox: Wanted) -> PostgresStore {
        let mut settings = self.0.settings();
        settings.outbox = outbox;
        settings.compress_after = Some(Duration::from_secs(86_400));
        PostgresStore::open(&settings).await.unwrap()
    }
}

/// PostgreSQL with ledgers kept as entries from the first sensor on, and added up after a few.
pub struct ByEntries(Database);

impl Fixture for ByEntries {
    type Store = PostgresStore;
    const CASES: u32 = 24;

    async fn new() -> Option<Self> {
        Server::shared().await?.database(Flavor::Plain).await.map(Self)
    }

    async fn open_with(&self, outbox: Wanted) -> PostgresStore {
        let mut settings = postgres(&self.0);
        settings.outbox = outbox;
        settings.timescale = Timescale::Off;
        settings.entries = EntrySettings {
            sensors: 2,
            changes: 8,
        };
        PostgresStore::open(&settings).await.unwrap()
    }
}

impl OnPostgres for PlainPostgres {
    fn database(&self) -> &Database {
        &self.0
    }

    fn settings(&self) -> PostgresSettings {
        let mut settings = postgres(&self.0);
        settings.timescale = Timescale::Off;
        settings
    }
}

impl OnPostgres for TimescalePostgres {
    fn database(&self) -> &Database {
        &self.0
    }

    fn settings(&self) -> PostgresSettings {
        let mut settings = postgres(&self.0);
        settings.timescale = Timescale::Required;
        // The times of these tests are old, so that the server's job would compress them at any moment, and a commit that meets
        // it may be told to come again, which these tests do not. What is read meanwhile is for those of `chunks`.
        settings.compress_after = None;
        settings
    }
}

pub fn instance() -> InstanceId {
    InstanceId("test".into())
}

pub fn source() -> SourceName {
    SourceName::parse("http").unwrap()
}

/// The time that [`batch`] gives to its batch.
pub fn batch_time(number: u64) -> BatchTime {
    BatchTime {
        now: Timestamp::from_seconds(1_700_000_000 + number as i64),
        active: ActiveTime(number as i64 * 10),
    }
}

/// Series `n` belongs to sensor `n / 2`.
pub fn sensor_of(series: u32) -> SensorKey {
    SensorKey(series / 2)
}

/// A batch with one slice.
pub fn batch(number: u64, outcome: SliceOutcome) -> CompleteBatch {
    CompleteBatch {
        number: BatchNumber(number),
        at: batch_time(number),
        source: source(),
        sensors: Vec::new(),
        series: Vec::new(),
        positions: Vec::new(),
        arrivals: Vec::new(),
        source_ledger: LedgerDelta::default(),
        dead_letters: Vec::new(),
        outcomes: vec![outcome],
    }
}

/// A row for each (series, time, value), received by its sensor.
pub fn rows(readings: &[(u32, i64, f64)]) -> SliceOutcome {
    let mut outcome = SliceOutcome::default();
    for (index, &(series, time, value)) in readings.iter().enumerate() {
        outcome.rows.push(Row {
            sensor: sensor_of(series),
            reading: Reading {
                series: SeriesId(series),
                time: Timestamp(time),
                value,
                index: index as u32,
                flags: Flags::NONE,
            },
        });
        let received = LedgerDelta {
            received: 1,
            ..Default::default()
        };
        outcome.ledger.push((sensor_of(series), received));
    }
    outcome
}

pub fn group(batches: Vec<CompleteBatch>) -> CommitGroup {
    CommitGroup {
        instance: instance(),
        batches,
    }
}

pub async fn commit(store: &impl Store, batches: Vec<CompleteBatch>) -> CommitReport {
    store.commit(&group(batches)).await.unwrap()
}

/// A store with the sensors and series of `series` numbers, claimed, batch 1 committed.
pub async fn opened<F: Fixture>(fixture: &F, series: u32) -> F::Store {
    let store = fixture.open().await;
    begin(&store, series).await;
    store
}

/// Claims the writer and commits batch 1, with the sensors and series of `series` numbers.
pub async fn begin(store: &impl Store, series: u32) {
    store.claim_writer(&instance()).await.unwrap();
    let mut first = batch(1, SliceOutcome::default());
    for n in 0..series.div_ceil(2) {
        first.sensors.push(SensorDefinition {
            key: SensorKey(n),
            id: SensorId::parse(&format!("sensor {n}")).unwrap(),
            tags: Tags::new(),
            home: None,
        });
    }
    for n in 0..series {
        first.series.push(SeriesDefinition {
            id: SeriesId(n),
            sensor: sensor_of(n),
            metric: MetricName::parse(&format!("metric {}", n % 2)).unwrap(),
            unit: (n % 2 == 0).then(|| "°C".to_owned()),
        });
    }
    commit(store, vec![first]).await;
}

pub fn everything() -> history::Page {
    history::Page {
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        limit: 1_000_000,
        newest_first: false,
    }
}

/// (time, value) of everything stored for a series.
pub async fn stored(store: &impl Store, series: u32) -> Vec<(i64, f64)> {
    let points = store.readings(SeriesId(series), &everything()).await.unwrap();
    points
        .into_iter()
        .map(|point| (point.time.0, point.value))
        .collect()
}
