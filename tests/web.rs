//! The web server from outside: a real pipeline over a database of its own, asked over real connections.

#[path = "web/access.rs"]
mod access;
#[path = "web/alerts.rs"]
mod alerts;
#[path = "web/archives.rs"]
mod archives;
#[path = "web/cache.rs"]
mod cache;
#[path = "web/commands.rs"]
mod commands;
#[path = "web/documents.rs"]
mod documents;
#[path = "web/hostile.rs"]
mod hostile;
#[path = "web/influx.rs"]
mod influx;
#[path = "web/query.rs"]
mod query;
#[path = "web/reading.rs"]
mod reading;
#[path = "web/support.rs"]
mod support;
#[path = "web/taking.rs"]
mod taking;
