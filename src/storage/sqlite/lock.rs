//! One service on a file: a second one is told so at its start, and the first one is not disturbed.
//!
//! Invariant: the lock belongs to the process, so that one that was killed leaves none behind. The lock is a file beside the
//! database, because closing a second handle of the database's own file would drop the locks of SQLite.
//!
//! How it fails: where the file system knows no locks this is logged, and the writer's epoch in the database, which lets the
//! newer service win, is all that keeps two apart.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::fault::Fault;
use crate::storage::{ErrorClass, StoreError};

/// Held for as long as this value lives.
#[derive(Debug)]
pub struct ServiceLock(#[expect(dead_code, reason = "closing it gives the lock back")] File);

impl ServiceLock {
    /// Takes the lock that belongs to the database at `path`, making directory and file where they are missing.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        let lock = beside(path);
        let unusable = |error: std::io::Error| {
            Fault::found(ErrorClass::Unusable, error).during(format!("opening {}", lock.display()))
        };
        if let Some(directory) = path.parent().filter(|path| *path != Path::new("")) {
            std::fs::create_dir_all(directory).map_err(unusable)?;
        }
        let file = File::options()
            .create(true)
            .append(true)
            .open(&lock)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                let why =
                    "another sensorhive is running on it; stop that one, or set storage.url to another file";
                Err(Fault::found(ErrorClass::Unusable, why).during(format!("opening {}", path.display())))
            }
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, lock = %lock.display(), "the file system knows no locks, keep to one service on a database");
                Ok(Self(file))
            }
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut lock = OsString::from(path);
    lock.push(".lock");
    lock.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_once_and_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/data.db");
        let held = ServiceLock::take(&path).unwrap();
        let error = ServiceLock::take(&path).unwrap_err();
        assert_eq!(error.class, ErrorClass::Unusable);
        assert!(error.to_string().contains("another sensorhive"), "{error}");
        let other = directory.path().join("made/other.db");
        ServiceLock::take(&other).unwrap();
        drop(held);
        ServiceLock::take(&path).unwrap();
    }
}
