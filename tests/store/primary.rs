//! The server that took writes is lost, and another one takes them.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Url;
use sensorhive::domain::*;
use sensorhive::storage::*;

use crate::postgres_server::{Database, Flavor, Mode, Proxy, Server};
use crate::support::*;

/// A store that knows its database by two addresses, the first of them by way of a proxy, and has written by that one.
async fn by_two_ways() -> Option<(PostgresStore, Proxy, Database)> {
    let database = Server::shared().await?.database(Flavor::Plain).await?;
    let url = Url::parse(database.url()).unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap());
    let address: SocketAddr = tokio::net::lookup_host(address).await.unwrap().next().unwrap();
    let proxy = Proxy::before(address).await;

    let mut settings = PostgresSettings::from_url(&proxy.url(database.url())).unwrap();
    let direct = PostgresSettings::from_url(database.url()).unwrap();
    settings.servers.extend(direct.servers);
    settings.timescale = Timescale::Off;
    settings.connect_timeout = Duration::from_secs(1);
    let store = PostgresStore::open(&settings).await.unwrap();
    store.claim_writer(&instance()).await.unwrap();
    commit(&store, vec![batch(1, SliceOutcome::default())]).await;
    Some((store, proxy, database))
}

/// After a lost answer to COMMIT this is the only question that is asked, so that nothing else looks for the other server.
#[tokio::test]
async fn whether_a_commit_came_true_is_asked_of_the_one_that_takes_writes_now() {
    let Some((store, proxy, _database)) = by_two_ways().await else {
        return;
    };
    proxy.set(Mode::Refuse).await;
    proxy.cut();
    let last = store.last_batch(&instance()).await.unwrap();
    assert_eq!(last, Some(BatchNumber(1)));
}

#[tokio::test]
async fn questions_are_asked_of_the_one_that_takes_writes_now() {
    for mode in [Mode::Refuse, Mode::Silence] {
        let Some((store, proxy, _database)) = by_two_ways().await else {
            return;
        };
        proxy.set(mode).await;
        proxy.cut();
        store.load_registry(&Scope::All).await.unwrap();
    }
}
