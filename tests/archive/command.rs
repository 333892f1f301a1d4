//! `restore-archive` of the real binary: what it answers, and with which exit code.

use std::path::Path;
use std::process::{Command, Output};

use sensorhive::archive::{Location, Objects};
use sensorhive::domain::Day;
use sensorhive::storage::archives::ArchiveState::*;
use sensorhive::storage::*;

use crate::support::*;
use crate::world::*;

/// A database whose only day was archived in a directory, and dropped.
struct Cold {
    fixture: Sqlite,
    day: Day,
    object: String,
    before: Vec<(u32, i64, f64, u64, u8)>,
}

impl Cold {
    async fn new() -> Self {
        let fixture = Sqlite::new().await.unwrap();
        let store = filled(&fixture).await;
        let mut world = World::new();
        world.elsewhere = Some(Objects::open(&Location::Directory(directory(&fixture))).unwrap());
        let day = day(20);
        commit(&store, vec![settled(2, &readings(day, 100, 0))]).await;
        let before = everything_stored(&store).await;
        world.set(day, 4);
        world.run(&store).await;
        assert_same!(everything_stored(&store).await, []);
        let object = catalog(&store).await[0].object.clone();
        store.close().await;
        Self {
            fixture,
            day,
            object,
            before,
        }
    }

    fn restore(&self, args: &[&str]) -> Output {
        restore(
            &self.fixture.settings().path,
            Some(&directory(&self.fixture)),
            args,
        )
    }

    async fn stored(&self) -> usize {
        let store = self.fixture.open().await;
        let stored = everything_stored(&store).await.len();
        store.close().await;
        stored
    }
}

fn directory(fixture: &Sqlite) -> std::path::PathBuf {
    fixture.directory.path().join("cold")
}

fn restore(database: &Path, archive: Option<&Path>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensorhive"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SENSORHIVE") {
            command.env_remove(name);
        }
    }
    command
        .arg("--set")
        .arg(format!("storage.url=sqlite:{}", database.display()));
    if let Some(archive) = archive {
        command
            .arg("--set")
            .arg(format!("storage.archive.url={}", archive.display()));
    }
    command.arg("restore-archive").args(args).output().unwrap()
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_day_is_checked_and_brought_back() {
    let cold = Cold::new().await;
    let day = cold.day.to_string();
    let (code, out, err) = told(&cold.restore(&["--from", &day, "--to", &day, "--dry-run"]));
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "1 objects with 600 rows are good\n"),
        "{err}"
    );
    assert_eq!(cold.stored().await, 0);

    let (code, out, err) = told(&cold.restore(&["--from", &day, "--keep", "30d"]));
    let expected =
        "1 objects with 600 rows: 600 put back, 0 were there, 0 conflict with others and were left out\n";
    assert_eq!((code, out.as_str()), (Some(0), expected), "{err}");
    assert!(
        err.contains("600 of 600 rows") && err.contains("100 % of all"),
        "{err}"
    );
    let store = cold.fixture.open().await;
    assert_same!(everything_stored(&store).await, cold.before);
    assert_eq!(states(&store).await, [(cold.day, 1, Restored)]);
    assert!(catalog(&store).await[0].keep_until.is_some());
    store.close().await;

    let (code, out, _) = told(&cold.restore(&["--object", &cold.object]));
    assert!(
        code == Some(0) && out.contains("0 put back, 600 were there"),
        "{out}"
    );
    let (code, out, _) = told(&cold.restore(&["--to", &day, "--release"]));
    assert_eq!((code, out.as_str()), (Some(0), "1 restored days released\n"));
    let store = cold.fixture.open().await;
    assert_eq!(states(&store).await, [(cold.day, 1, Verified)]);
    store.close().await;
}

#[tokio::test]
async fn what_cannot_be_restored_is_told_with_its_exit_code() {
    let cold = Cold::new().await;
    let database = cold.fixture.settings().path;
    for (args, code, text) in [
        (&[][..], 2, "--from <DAY>"),
        (&["--from", "yesterday"], 2, "is not a day such as 2026-03-14"),
        (
            &["--from", "2026-01-01", "--object", "x"],
            2,
            "cannot be used with",
        ),
        (&["--to", "1999-01-01"], 1, "there are no objects of these days"),
        (
            &["--object", "readings/2001/01/01-1.parquet"],
            1,
            "is missing in the archive",
        ),
    ] {
        let (found, out, err) = told(&cold.restore(args));
        assert_eq!(found, Some(code), "{args:?}: {err}");
        assert!(err.contains(text), "{args:?}: {err}");
        assert!(code == 1 || out.is_empty(), "{out}");
    }
    let (code, _, err) = told(&restore(&database, None, &["--to", "2026-01-01"]));
    assert_eq!(code, Some(2));
    assert!(err.contains("set storage.archive.url"), "{err}");

    let object = directory(&cold.fixture).join(&cold.object);
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let (code, out, err) = told(&cold.restore(&["--from", "2001-01-01"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("is damaged: its SHA-256"), "{err}");
    assert!(out.starts_with("0 objects"), "{out}");
    assert_eq!(cold.stored().await, 0);
}

#[tokio::test]
async fn an_archive_from_elsewhere_needs_the_service_to_be_stopped() {
    let cold = Cold::new().await;
    let other = Sqlite::new().await.unwrap();
    let database = other.settings().path;
    other.open().await.close().await;
    let running = sqlite::ServiceLock::take(&database).unwrap();
    let from = cold.day.to_string();
    let archive = directory(&cold.fixture);
    let (code, _, err) = told(&restore(&database, Some(&archive), &["--from", &from]));
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("stop the service first"), "{err}");
    drop(running);
    let (code, out, err) = told(&restore(&database, Some(&archive), &["--from", &from]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("600 put back"), "{out}");
}
