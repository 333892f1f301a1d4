//! Reading from PostgreSQL and TimescaleDB with many readings in them: the last hour of one series, the last points of many, sums by
//! the minute and the hour, and what a reading takes on disk.
//!
//! `cargo bench --bench reading -- [rows] [series]`, 10 million over 100,000 series by default. It makes databases of its own on the
//! server of `SENSORHIVE_BENCH_DATABASE_URL` (whose role may create them), or on a private server where PostgreSQL is installed,
//! and drops them.

#[path = "../tests/support/postgres/mod.rs"]
mod postgres;

use std::time::{Duration, Instant};

use sensorhive::clock::{Clock, SystemClock};
use sensorhive::domain::*;
use sensorhive::storage::history::{Page, WHOLE};
use sensorhive::storage::*;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const MINUTE: i64 = 60_000_000;
/// Series whose last points are asked for at once.
const MANY: u32 = 10_000;

struct Bench {
    rows: u64,
    series: u32,
    /// When the newest readings came.
    now: Timestamp,
}

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse::<u64>().ok());
    let now = SystemClock.now();
    let bench = Bench {
        rows: numbers.next().unwrap_or(10_000_000),
        series: numbers.next().unwrap_or(100_000) as u32,
        now: Timestamp(now.0 - now.0 % MINUTE),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(bench.run());
}

impl Bench {
    async fn run(&self) {
        let given = std::env::var("SENSORHIVE_BENCH_DATABASE_URL").ok();
        let private = match given {
            Some(_) => None,
            None => postgres::Server::private().await,
        };
        let server = match (given, &private) {
            (Some(url), _) => url.parse().unwrap(),
            (None, Some(private)) => private.url("postgres"),
            (None, None) => return,
        };
        for timescale in [Timescale::Off, Timescale::Required] {
            let name = format!("sensorhive_bench_{:016x}", rand::random::<u64>());
            let mut admin = PgConnection::connect(server.as_str()).await.unwrap();
            run(&mut admin, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
            let mut url = server.clone();
            url.set_path(&name);
            self.on(url.as_str(), timescale).await;
            run(&mut admin, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    async fn on(&self, url: &str, timescale: Timescale) {
        let mut settings = PostgresSettings::from_url(url).unwrap();
        settings.timescale = timescale;
        settings.compress_after = None;
        settings.query_timeout = Duration::from_secs(600);
        let store = match PostgresStore::open(&settings).await {
            Ok(store) => store,
            Err(error) => return println!("left out: {error}"),
        };
        println!("\n{}\n", store.describe());
        let mut side = PgConnection::connect(url).await.unwrap();
        self.fill(&store, &mut side).await;
        let hour = Page {
            from: self.now.saturating_sub(60 * MINUTE),
            to: self.now.saturating_add(MINUTE),
            limit: 10_000,
            newest_first: true,
        };
        let ever = Page {
            from: Timestamp::MIN,
            ..hour
        };
        println!("| what | measured | target |\n| --- | --- | --- |");
        let before = bytes(&mut side, timescale).await as f64 / self.rows as f64;
        println!("| bytes a reading on disk, keys included | {before:.0} | |");
        let one = self
            .time(2_000, async |series| {
                store.readings(series, &hour).await.unwrap().len()
            })
            .await;
        println!("| the last hour of one series | {one} | p99 10 ms |");
        let many: Vec<SeriesId> = (0..MANY)
            .map(|n| SeriesId(n.wrapping_mul(7_919) % self.series))
            .collect();
        let latest = self
            .time(20, async |_| store.latest(&many).await.unwrap().len())
            .await;
        println!("| the last points of {MANY} series | {latest} | 100 ms |");
        let raw = self
            .time(500, async |series| {
                store.buckets(series, &ever, MINUTE).await.unwrap().len()
            })
            .await;
        println!("| all by the minute, from readings | {raw} | |");
        let began = Instant::now();
        store
            .maintain(self.now.saturating_add(10 * MINUTE))
            .await
            .unwrap();
        let rate = self.rows as f64 / began.elapsed().as_secs_f64() / 1e3;
        println!("| rolling up | {rate:.0} k readings/s | |");
        run(&mut side, "VACUUM ANALYZE").await;
        let rolled = self
            .time(500, async |series| {
                store.buckets(series, &ever, MINUTE).await.unwrap().len()
            })
            .await;
        println!("| all by the minute, rolled up | {rolled} | |");
        let whole = self
            .time(500, async |series| {
                store.buckets(series, &ever, WHOLE).await.unwrap().len()
            })
            .await;
        println!("| all at once, rolled up | {whole} | |");
        if timescale != Timescale::Off {
            run(
                &mut side,
                "SELECT compress_chunk(c) FROM show_chunks('readings') c",
            )
            .await;
            let after = bytes(&mut side, timescale).await as f64 / self.rows as f64;
            println!("| bytes a reading, compressed | {after:.1} | |");
            let one = self
                .time(500, async |series| {
                    store.readings(series, &hour).await.unwrap().len()
                })
                .await;
            println!("| the last hour of one series, compressed | {one} | |");
        }
        store.close().await;
    }

    /// Every series a minute, as many minutes as it takes, the last one `now`.
    async fn fill(&self, store: &PostgresStore, side: &mut PgConnection) {
        let minutes = (self.rows / u64::from(self.series)).max(1) as i64;
        let begin = self.now.saturating_sub((minutes - 1) * MINUTE);
        let instance = InstanceId("bench".into());
        store.claim_writer(&instance).await.unwrap();
        // Through the store, which makes partitions for them.
        let days = (0..=minutes / 1_440 + 1).map(|day| begin.saturating_add(day * 1_440 * MINUTE + 1));
        let outcome = SliceOutcome {
            rows: days.enumerate().map(|(index, time)| row(index, time)).collect(),
            ..Default::default()
        };
        let batch = CompleteBatch {
            number: store.reserve_batches(1).await.unwrap(),
            at: BatchTime {
                now: self.now,
                active: ActiveTime(0),
            },
            source: SourceName::parse("bench").unwrap(),
            sensors: Vec::new(),
            series: Vec::new(),
            positions: Vec::new(),
            arrivals: Vec::new(),
            source_ledger: LedgerDelta::default(),
            dead_letters: Vec::new(),
            outcomes: vec![outcome],
        };
        let batches = vec![batch];
        store.commit(&CommitGroup { instance, batches }).await.unwrap();
        let series = self.series;
        run(
            side,
            &format!(
                "INSERT INTO sensors (id, sensor_id) SELECT n, n FROM generate_series(0, {series} - 1) n;
                 INSERT INTO series (id, sensor_id, metric) SELECT n, n, 'm' FROM generate_series(0, {series} - 1) n"
            ),
        )
        .await;
        let began = Instant::now();
        for minute in 0..minutes {
            let time = begin.saturating_add(minute * MINUTE).0;
            // Each at its own moment of the minute, with a value that moves a little.
            let insert = format!(
                "INSERT INTO readings (time, value, seq, series_id, flags)
                 SELECT timestamptz 'epoch' + ({time} + n * 600) * interval '1 microsecond',
                     round((20 + 5 * sin({minute} / 30.0 + n))::numeric, 1)::float8, {minute}::bigint << 20 | n, n, 0
                 FROM generate_series(0::bigint, {series} - 1) n ON CONFLICT DO NOTHING"
            );
            run(side, &insert).await;
            if (minute + 1) % (minutes / 4).max(1) == 0 {
                let rows = (minute + 1) as u64 * u64::from(series);
                eprintln!("{rows} rows after {:.0} s", began.elapsed().as_secs_f64());
            }
        }
        run(side, "VACUUM ANALYZE").await;
    }

    /// Times the question for series that lie far from each other.
    async fn time(&self, times: u32, ask: impl AsyncFn(SeriesId) -> usize) -> String {
        let (mut took, mut rows) = (Vec::new(), 0);
        for n in 0..times {
            let series = SeriesId(n.wrapping_mul(104_729) % self.series);
            let began = Instant::now();
            rows += ask(series).await;
            took.push(began.elapsed());
        }
        took.sort();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let rows = rows as f64 / f64::from(times);
        format!("p50 {:.1} ms, p99 {:.1} ms ({rows:.0} rows)", at(0.5), at(0.99))
    }
}

fn row(index: usize, time: Timestamp) -> Row {
    Row {
        sensor: SensorKey(0),
        reading: Reading {
            series: SeriesId(u32::MAX - 1),
            time,
            value: 0.0,
            index: index as u32,
            flags: Flags::NONE,
        },
    }
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap();
}

async fn bytes(connection: &mut PgConnection, timescale: Timescale) -> i64 {
    let sql = match timescale {
        Timescale::Off => {
            "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('readings')"
        }
        _ => "SELECT hypertable_size('readings')",
    };
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}
