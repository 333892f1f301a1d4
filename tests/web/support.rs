//! A service of one's own, and short ways to ask it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use reqwest::{Method, RequestBuilder, Response};
use secrecy::ExposeSecret;
use sensorhive::actors::ingest::{Feed, HttpIngest, Intake, IntakeSettings, PolledSource};
use sensorhive::actors::permits::Share;
use sensorhive::actors::query_cache;
use sensorhive::actors::registry::RegistryLimits;
use sensorhive::actors::shard::env::ShardSettings;
use sensorhive::actors::storage::maintenance::Retention;
use sensorhive::actors::supervision::Policy;
use sensorhive::clock::{Clock, SystemClock};
use sensorhive::decode::range::TimeRange;
use sensorhive::decode::{JsonMapping, TopicPattern};
use sensorhive::domain::{SourceName, Timestamp};
use sensorhive::settings::{HttpSettings, Layers, LiveSettings, PayloadSettings};
use sensorhive::startup::catalog::SettingsCatalog;
use sensorhive::startup::live;
use sensorhive::startup::pipeline::{Pipeline, PipelineSettings};
use sensorhive::storage::{InstanceId, SqliteSettings, SqliteStore, Store};
use sensorhive::web::auth::Role;
use sensorhive::web::{self, Answers, AppState, Shared, SourceEntry, TokenService, tokens};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

pub const PROBLEM: &str = "application/problem+json";

pub struct App {
    pub address: SocketAddr,
    pub state: Arc<AppState>,
    pub client: reqwest::Client,
    pub admin: String,
    pub operator: String,
    pub viewer: String,
    pub pipeline: Pipeline,
    server: ServerHandle,
    directory: tempfile::TempDir,
}

/// A source that has nothing to say.
struct Quiet;

impl Feed for Quiet {
    fn poll(&mut self, _now: Timestamp) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

pub fn http_settings(listen: &str) -> HttpSettings {
    let mut settings = Layers::default().load().unwrap().http;
    settings.listen = listen.parse().unwrap();
    settings
}

pub fn live_settings() -> LiveSettings {
    Layers::default().load().unwrap().live
}

impl App {
    /// On loopback, as the defaults are.
    pub async fn spawn() -> Self {
        Self::spawn_with(http_settings("127.0.0.1:0")).await
    }

    pub async fn spawn_with(settings: HttpSettings) -> Self {
        Self::spawn_live(settings, live_settings()).await
    }

    pub async fn spawn_live(settings: HttpSettings, live_settings: LiveSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = SqliteSettings::new(directory.path().join("sensorhive.db"));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&sqlite).await.unwrap());
        let defaults = Layers::default().load().unwrap();
        let (table, rules) = (defaults.series, defaults.rules);
        let fault: Arc<dyn Fn(String) + Send + Sync> = Arc::new(|what| panic!("{what}"));
        let mut pipeline = Pipeline::start(
            store.clone(),
            Arc::new(SystemClock),
            pipeline_settings(),
            |registry| Arc::new(SettingsCatalog::new(&table, &rules, registry)),
            fault,
        )
        .await
        .unwrap();
        let http = intake("http", &pipeline, JsonMapping::default());
        let quiet = intake("quiet", &pipeline, mapping());
        let arbiter = pipeline.arbiter();
        let feed = quiet.clone();
        let (source, handle) = pipeline.supervise(&arbiter, "ingest/quiet", "PolledSource", move || {
            PolledSource::new(Quiet, feed, Duration::from_millis(50))
        });
        let entry = SourceEntry {
            kind: "quiet",
            handle,
            seek: None,
            control: source.recipient(),
            intake: quiet,
        };
        let mut texts = Vec::new();
        for role in Role::ALL {
            let (_, text) = tokens::create(&*store, role, role.as_str(), SystemClock.now())
                .await
                .unwrap();
            texts.push(text.expose_secret().to_owned());
        }
        let started_at = SystemClock.now();
        let live = live::start(&mut pipeline, &live_settings, started_at);
        let state = Arc::new(AppState {
            store: store.clone(),
            rails: pipeline.rails.clone(),
            shards: pipeline.shards.clone(),
            tree: pipeline.tree.clone(),
            latest: pipeline.latest.clone(),
            statistics: pipeline.statistics.clone(),
            metrics: pipeline.metrics.clone(),
            answers: Answers::new(pipeline.queries.clone()),
            ledger: Shared::default(),
            live,
            ingest: Arc::new(HttpIngest::new(http, store.clone(), Duration::from_secs(20))),
            sources: BTreeMap::from([(SourceName::parse("quiet").unwrap(), entry)]),
            outputs: BTreeMap::new(),
            alerting: Default::default(),
            tokens: Arc::new(TokenService::new(store)),
            started_at,
            shutting_down: Arc::new(AtomicBool::new(false)),
        });
        let (mut address, server) =
            web::serve(web::bind(settings.listen).unwrap(), &settings, state.clone()).unwrap();
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        let handle = server.handle();
        tokio::spawn(server);
        sensorhive::tls::install_provider();
        let [viewer, operator, admin] = texts.try_into().unwrap();
        Self {
            address,
            state,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            admin,
            operator,
            viewer,
            pipeline,
            server: handle,
            directory,
        }
    }

    /// Does something to the database behind the service's back.
    pub async fn sql(&self, statement: &'static str) {
        let options = SqliteConnectOptions::new().filename(self.directory.path().join("sensorhive.db"));
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub async fn stop(self) {
        self.server.stop(false).await;
        drop(self.state);
        assert!(self.pipeline.stop(Duration::from_secs(60)).await, "it ends");
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn admin_get(&self, path: &str) -> Answer {
        let request = self.request(Method::GET, path).bearer_auth(&self.admin);
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn admin_post(&self, path: &str, body: Value) -> Answer {
        let request = self
            .request(Method::POST, path)
            .bearer_auth(&self.admin)
            .json(&body);
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json");
        Answer::of(request.body(body.into()).send().await.unwrap()).await
    }

    /// Stores readings of a sensor's metric `t`, one a second, values 0, 1, 2….
    pub async fn fill(&self, sensor: &str, count: i64) -> i64 {
        let first = SystemClock.now().0 / 1_000_000 - 2 * count;
        let items: Vec<Value> = (0..count)
            .map(|n| serde_json::json!({"sensor_id": sensor, "metric": "t", "value": n, "timestamp": first + n, "unit": "C"}))
            .collect();
        let answer = self
            .post("/api/ingest", serde_json::to_vec(&items).unwrap())
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        first
    }
}

/// An answer, read.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    /// Null where it is not JSON.
    pub body: Value,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self {
            status,
            headers,
            text,
            body,
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that this is a problem of that status and kind, whole.
    pub fn problem(&self, status: u16, kind: &str) -> &Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), PROBLEM, "{}", self.text);
        assert_eq!(self.body["type"], format!("/problems/{kind}"), "{}", self.text);
        assert_eq!(self.body["status"], status, "{}", self.text);
        for field in ["title", "detail"] {
            assert!(
                self.body[field].as_str().is_some_and(|text| !text.is_empty()),
                "{}",
                self.text
            );
        }
        &self.body
    }
}

/// That of the source `quiet`: the value is in `v`, and the topic names sensor and metric.
fn mapping() -> JsonMapping {
    PayloadSettings {
        mapping: Some(&toml::from_str("value = '/v'").unwrap()),
        topics: &[TopicPattern::parse("plant/+sensor_id/+metric").unwrap()],
        ..PayloadSettings::default()
    }
    .json(10_000)
}

pub fn intake(name: &str, pipeline: &Pipeline, mapping: JsonMapping) -> Intake {
    let settings = IntakeSettings {
        share: Share {
            readings: 20_000,
            bytes: 64 << 20,
        },
        time_range: TimeRange::default(),
        batch_readings: 10_000,
        mapping,
    };
    Intake::new(SourceName::parse(name).unwrap(), pipeline.rails.clone(), settings)
}

fn pipeline_settings() -> PipelineSettings {
    let policy = Policy::default();
    PipelineSettings {
        shared: false,
        instance: InstanceId("test".into()),
        internal: SourceName::parse("internal").unwrap(),
        shards: 2,
        limits: RegistryLimits {
            sensors: 1_000,
            series_per_sensor: 64,
        },
        shard: ShardSettings {
            snapshot_tail: 1_024,
            snapshot_interval: Duration::from_secs(60),
            snapshot_bytes_per_second: 1 << 20,
            passivate_after: Duration::from_secs(600),
            held_readings: 1_000,
            load_readings: 10_000,
            drain_bytes: 4 << 20,
            policy: Arc::new(policy),
        },
        retention: Retention {
            readings: None,
            dead_letters: None,
            restarts: None,
            batches: None,
            idempotency_keys: None,
        },
        query_cache: query_cache::Limits {
            bytes: 16 << 20,
            life: 60_000_000,
        },
        policy,
    }
}

/// Asks again until the answer is as wanted; a test that waits for ever is cut off by its runner.
pub async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
