//! Where the databases lie.

use std::sync::Arc;

use sensorhive::storage::sqlite::{SqliteSettings, SqliteStore};
use tempfile::TempDir;

pub fn directory() -> TempDir {
    match std::env::var_os("SENSORHIVE_BENCH_DIR") {
        Some(path) => tempfile::tempdir_in(path).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

pub async fn open(path: &std::path::Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(&SqliteSettings::new(path)).await.unwrap())
}
