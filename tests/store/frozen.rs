//! An instance that stands still amid a transaction, as one does that is stopped or cut off, keeps nobody else from going on.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Url;
use sensorhive::storage::*;

use crate::postgres_server::{Flavor, Mode, Proxy, Server};
use crate::support::*;

/// Only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn what_it_was_about_to_claim_is_claimed_by_somebody_else() {
    let Some(server) = Server::shared().await else {
        return;
    };
    let Some(database) = server.database(Flavor::Plain).await else {
        return;
    };
    let url = Url::parse(database.url()).unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap());
    let address: SocketAddr = tokio::net::lookup_host(address).await.unwrap().next().unwrap();
    let proxy = Proxy::before(address).await;
    let open = async |url: &str| {
        let mut settings = PostgresSettings::from_url(url).unwrap();
        settings.timescale = Timescale::Off;
        settings.query_timeout = Duration::from_secs(5);
        PostgresStore::open(&settings).await.unwrap()
    };
    let (still, other) = (open(&proxy.url(database.url())).await, open(database.url()).await);
    let (source, partitions) = (source(), vec!["0".to_owned()]);
    still.claim_positions(&source, &partitions).await.unwrap();

    // Its claim waits for us, so that it has not ended when nothing gets through any more.
    let mut holder = database.connect().await;
    run(&mut holder, "BEGIN; SELECT 1 FROM positions FOR UPDATE").await;
    let claim = tokio::spawn(async move { still.claim_positions(&source, &partitions).await });
    let mut watcher = database.connect().await;
    loop {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut watcher).await.unwrap();
        if waiting > 0 {
            break;
        }
    }
    proxy.set(Mode::Silence).await;
    run(&mut holder, "COMMIT").await;

    let again = async {
        while other
            .claim_positions(&crate::support::source(), &["0".to_owned()])
            .await
            .is_err()
        {}
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    claim.abort();
}

async fn run(connection: &mut sqlx::PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}
