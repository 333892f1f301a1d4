//! `[storage]`: the database, its cache, its archive, and who shares it.

use std::path::PathBuf;
use std::time::Duration;

use sensorhive::settings::ArchiveUrl;

use crate::{defaults, load, problems};

#[test]
fn several_instances_share_only_what_can_be_shared() {
    let shared = "[storage]\nshared = true\n";
    let found = problems(load(&format!("{shared}[sources.made-up]\nkind = \"simulated\"")));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("storage.shared needs PostgreSQL")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("sources.made-up cannot be shared")),
        "{found:?}"
    );
    let url = "url = \"postgres://u@h/d\"\n";
    let settings = load(&format!("{shared}{url}instance = \"plant-1.a\"")).unwrap();
    assert_eq!(
        (settings.storage.shared, settings.storage.instance.as_str()),
        (true, "plant-1.a")
    );
    let found = problems(load(&format!("{shared}{url}instance = \"a b\"")));
    assert!(
        found[0].starts_with("storage.instance must be at most 64"),
        "{found:?}"
    );
}

#[test]
fn a_database_is_shown_without_its_password() {
    for (url, shown) in [
        ("postgres://me:hunter2@db/x", "postgres://me@db/x"),
        (
            "postgres://me:hunter2@one:5433,two/x?password=hunter2",
            "postgres://me@one:5433,two/x",
        ),
        ("postgresql://db/x", "postgresql://db/x"),
    ] {
        let settings = load(&format!("[storage]\nurl = '{url}'")).unwrap();
        assert_eq!(settings.storage.url.to_string(), shown);
        let all = format!("{settings:?}{}", settings.to_toml().unwrap());
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[test]
fn a_database_that_cannot_be_is_an_error_without_its_password() {
    for url in [
        "postgres://me:hunter2@db",
        "postgres://me:hunter2@db:port/x",
        "mysql://me:hunter2@db/x",
        "sqlite:",
        "sqlite::memory:",
        "sqlite:a?hunter2",
    ] {
        let message = load(&format!("[storage]\nurl = '{url}'"))
            .unwrap_err()
            .to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn an_archive_is_a_directory_or_a_bucket() {
    assert_eq!(defaults().storage.archive, None);
    let archive = |url: &str| {
        let settings = load(&format!("[storage.archive]\nurl = {url:?}\n")).unwrap();
        settings.storage.archive.unwrap()
    };
    let directory = |path: &str| ArchiveUrl::Directory(PathBuf::from(path));
    for (url, expected) in [
        ("file:///var/lib/x", directory("/var/lib/x")),
        ("file:/var/lib/x", directory("/var/lib/x")),
        ("cold/x", directory("cold/x")),
    ] {
        assert_eq!(archive(url).url, expected, "{url}");
    }
    let bucket = archive("s3://cold/plant a/");
    assert_eq!(bucket.url.to_string(), "s3://cold/plant a");
    assert_eq!(bucket.after, Duration::from_secs(90 * 86_400));
    for url in [
        "",
        "file://",
        "file:x",
        "s3://",
        "s3:///x",
        "s3://me:secret@cold",
        "https://x/y",
        "s3://b/x?key=secret",
    ] {
        let problems = problems(load(&format!("[storage.archive]\nurl = {url:?}\n")));
        assert_eq!(problems.len(), 1, "{url}: {problems:?}");
        assert!(problems[0].starts_with("storage.archive.url "), "{problems:?}");
        assert!(!problems[0].contains("secret"), "{problems:?}");
    }
}

#[test]
fn nothing_is_dropped_before_it_is_archived() {
    let with = |keys: &str, archive: &str| {
        load(&format!(
            "[storage]\n{keys}\n[storage.archive]\nurl = 's3://cold'\n{archive}\n"
        ))
    };
    assert!(with("retention = '90d'", "").is_ok());
    assert!(with("retention = '1d'", "after = '1d'").is_ok());
    assert_eq!(
        problems(with("retention = '89d'", "")),
        [
            "storage.retention must not be shorter than `storage.archive.after`: what is not archived is not dropped"
        ]
    );
    assert_eq!(problems(with("", "after = '23h'")).len(), 1);
    assert_eq!(problems(with("", "access_key_id = 'me'")).len(), 1);
    assert_eq!(problems(with("", "secret_access_key = 'hunter2'")).len(), 1);
    assert_eq!(problems(with("", "endpoint = 'http://me:hunter2@x'")).len(), 1);
    let local = load("[storage.archive]\nurl = 'cold'\nendpoint = 'http://x'\n");
    assert_eq!(
        problems(local),
        ["storage.archive.endpoint is only for an archive at \"s3://\""]
    );
    assert_eq!(problems(load("[storage.archive]\nafter = '2d'\n")).len(), 1);
}

#[test]
fn an_archive_is_shown_as_it_can_be_read_again() {
    let text = "[storage.archive]\nurl = 's3://cold/x'\nregion = 'eu-central-1'\nendpoint = 'http://127.0.0.1:9000'\n\
        access_key_id = 'me'\nsecret_access_key_file = '/run/secrets/x'\n";
    let settings = load(text).unwrap();
    assert!(settings.storage.archive.is_some());
    assert_eq!(
        load(&settings.to_toml().unwrap()).unwrap().storage,
        settings.storage
    );
}

#[test]
fn a_cache_of_nothing_is_none() {
    assert_eq!(defaults().storage.query_cache, 16 << 20);
    for off in ["'0'", "'0B'"] {
        let settings = load(&format!("[storage]\nquery_cache = {off}\n")).unwrap();
        assert_eq!(settings.storage.query_cache, 0);
        assert_eq!(
            load(&settings.to_toml().unwrap()).unwrap().storage,
            settings.storage
        );
    }
    for wrong in ["'2TiB'", "'-1'", "'much'"] {
        let told = problems(load(&format!("[storage]\nquery_cache = {wrong}\n")));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("storage.query_cache") && told[0].contains("\"0\""),
            "{told:?}"
        );
    }
}
