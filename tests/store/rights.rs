//! A role that may make tables but not the extension.

use reqwest::Url;
use sensorhive::storage::*;
use sqlx::{AssertSqlSafe, Executor};

use crate::postgres_server::{Flavor, Server};
use crate::support::*;

/// In a database where the extension is not made, on a server that has it.
#[tokio::test]
async fn where_the_extension_may_not_be_made_it_is_said_who_can() {
    let Some(server) = Server::shared().await else {
        return;
    };
    // Where the server has no such extension, this says so.
    if server.database(Flavor::Timescale).await.is_none() {
        return;
    }
    let database = server.database(Flavor::Plain).await.unwrap();
    let role = format!("{}_role", database.name());
    let mut administrator = database.connect().await;
    let grant = format!("CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}");
    administrator
        .execute(sqlx::raw_sql(AssertSqlSafe(grant)))
        .await
        .unwrap();
    let mut url = Url::parse(database.url()).unwrap();
    url.set_username(&role).unwrap();
    let mut settings = PostgresSettings::from_url(url.as_str()).unwrap();

    settings.timescale = Timescale::Required;
    let error = PostgresStore::open(&settings).await.err().unwrap();
    assert_eq!(error.class, ErrorClass::Unusable);
    let said = error.to_string();
    assert!(said.contains("permission denied"), "{said}");
    assert!(
        said.contains("have an administrator run CREATE EXTENSION timescaledb in this database"),
        "{said}"
    );

    settings.timescale = Timescale::Auto;
    let store = PostgresStore::open(&settings).await.unwrap();
    assert!(!store.describe().contains("timescaledb"), "{}", store.describe());
    store.claim_writer(&instance()).await.unwrap();
    commit(&store, vec![batch(1, SliceOutcome::default())]).await;
    store.close().await;

    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    administrator
        .execute(sqlx::raw_sql(AssertSqlSafe(drop)))
        .await
        .unwrap();
}
