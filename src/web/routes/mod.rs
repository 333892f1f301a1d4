//! The routes, by resource. Each file tells its endpoints; this one puts them together.

mod actors;
mod admin;
mod alerts;
mod archives;
mod cells;
mod envelope;
mod health;
mod history;
mod influx;
mod ingest;
mod latest;
mod ledger;
mod links;
mod listing;
mod notifications;
mod outputs;
mod page;
mod query;
mod sensors;
mod silences;
mod sources;
mod statistics;

use actix_web::web::ServiceConfig;

use super::auth::Access;
use super::endpoint::Endpoint;
use super::ws;

pub use documented::paths;

/// What the OpenAPI document is generated from.
mod documented {
    use super::*;
    use utoipa::OpenApi;

    #[derive(OpenApi)]
    #[openapi(paths(
        latest::latest,
        latest::realtime,
        statistics::summary,
        listing::list,
        cells::cells,
        sensors::detail,
        sensors::state,
        sensors::ledger,
        history::readings,
        history::windows,
        history::anomalies,
        history::restarts,
        envelope::envelope,
        query::query,
        alerts::list,
        alerts::one,
        alerts::acknowledge,
        alerts::counts,
        alerts::explain,
        alerts::shelve,
        alerts::unshelve,
        notifications::list,
        notifications::one,
        notifications::send,
        links::ask,
        links::act,
        silences::list,
        silences::create,
        silences::end,
        ingest::ingest,
        influx::write,
        influx::write_v1,
        influx::query,
        actors::tree,
        sources::list,
        outputs::list,
        ledger::total,
        archives::list,
        health::alive,
        health::ready,
        health::metrics,
        admin::sensors::command,
        admin::outputs::command,
        admin::sources::command,
        admin::sources::seek,
        admin::actors::restart,
        admin::dead_letters::list,
        admin::dead_letters::one,
        admin::dead_letters::replay,
        admin::audit::log,
        admin::tokens::list,
        admin::tokens::create,
        admin::tokens::revoke,
        ws::realtime,
    ))]
    struct Paths;

    pub fn paths() -> utoipa::openapi::OpenApi {
        Paths::openapi()
    }
}

fn endpoints() -> Vec<Endpoint> {
    let mut all = Vec::new();
    all.extend(latest::endpoints());
    all.extend(statistics::endpoints());
    all.extend(listing::endpoints());
    all.extend(cells::endpoints());
    all.extend(sensors::endpoints());
    all.extend(history::endpoints());
    all.extend(envelope::endpoints());
    all.extend(query::endpoints());
    all.extend(alerts::endpoints());
    all.extend(silences::endpoints());
    all.extend(notifications::endpoints());
    all.extend(links::endpoints());
    all.extend(ingest::endpoints());
    all.extend(influx::endpoints());
    all.extend(actors::endpoints());
    all.extend(sources::endpoints());
    all.extend(outputs::endpoints());
    all.extend(ledger::endpoints());
    all.extend(archives::endpoints());
    all.extend(health::endpoints());
    all.extend(admin::endpoints());
    all.extend(page::endpoints());
    all.extend(ws::endpoints());
    all
}

pub fn configure(config: &mut ServiceConfig) {
    for endpoint in endpoints() {
        endpoint.register(config);
    }
}

/// Every method and path there is, and who may use it.
pub fn inventory() -> Vec<(String, &'static str, Access)> {
    let mut all = Vec::new();
    for endpoint in endpoints() {
        let methods = endpoint.methods();
        all.extend(methods.map(|method| (method.to_string(), endpoint.path, endpoint.access_to(method))));
    }
    all
}
