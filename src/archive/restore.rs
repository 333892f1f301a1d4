//! The way back: objects are verified, and their readings put into the database.
//!
//! Invariants: nothing of an object is put back before all of it was verified. Its day is marked restored before the first
//! reading is, so that nobody archives or drops it meanwhile. What is stored already stays as it is, so that doing it again
//! changes nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::ArchiveError;
use super::archiver::{blocking, pause, sha256};
use super::objects::{self, Objects};
use super::parquet::{Object, Survey};
use crate::domain::{Day, SeriesId, Timestamp};
use crate::storage::archives::{Adopted, Archive, ArchivePage, ArchiveState, Archives, Contents, SeriesName};
use crate::storage::history::StoredPoint;

/// Readings put back by a transaction.
const CHUNK: usize = 4_096;

/// An object to be restored, with what the catalog says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub object: String,
    pub known: Option<Archive>,
}

impl Candidate {
    /// Whether it holds nothing but what the database holds, since its export never came to its end.
    pub fn is_unfinished(&self) -> bool {
        let state = self.known.as_ref().map(|archive| archive.state);
        matches!(state, Some(ArchiveState::Exporting | ArchiveState::Uploaded))
    }
}

/// What is done with an object beside reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub now: Timestamp,
    /// Until when its day is left alone; `None` is until it is released.
    pub keep_until: Option<Timestamp>,
    /// Whether no service runs on the database, so that sensors and series may be made.
    pub alone: bool,
}

/// What became of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub rows: u64,
    pub stored: u64,
    pub duplicates: u64,
    pub conflicts: u64,
    /// The first of them.
    pub examples: Vec<Conflict>,
}

/// A reading that was not put back, since another one has its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    pub series: SeriesName,
    pub time: Timestamp,
    pub archived: f64,
    pub stored: f64,
}

/// The most conflicts that are told one by one.
const EXAMPLES: usize = 10;

/// An object that was read whole, and is what it says.
pub struct Verified {
    candidate: Candidate,
    object: Object,
    contents: Contents,
    survey: Survey,
}

impl Verified {
    pub fn rows(&self) -> u64 {
        self.contents.rows
    }

    pub fn day(&self) -> Day {
        self.object.day
    }
}

/// How [`restore`] ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    Restored(Outcome),
    /// It needs to be alone with the database, because of this.
    NotAlone(String),
}

/// The objects of the days from `from` to `to`, those that the catalog knows and those that lie there without it.
pub async fn find(
    objects: &Objects,
    archives: &dyn Archives,
    from: Day,
    to: Day,
) -> Result<Vec<Candidate>, ArchiveError> {
    let page = ArchivePage {
        from,
        to,
        ..ArchivePage::all()
    };
    let known = archives.catalog(&page).await?;
    let mut found: BTreeMap<String, Option<Archive>> = objects
        .list()
        .await?
        .into_iter()
        .filter(|name| objects::parse_name(name).is_some_and(|(day, _)| (from..=to).contains(&day)))
        .map(|name| (name, None))
        .collect();
    for archive in known {
        found.insert(archive.object.clone(), Some(archive));
    }
    Ok(found
        .into_iter()
        .map(|(object, known)| Candidate { object, known })
        .collect())
}

/// One object by its name.
pub async fn named(archives: &dyn Archives, object: &str) -> Result<Candidate, ArchiveError> {
    let known = match objects::parse_name(object) {
        Some((day, _)) => archives.catalog(&ArchivePage::of(day)).await?,
        None => Vec::new(),
    };
    Ok(Candidate {
        object: object.to_owned(),
        known: known.into_iter().find(|archive| archive.object == object),
    })
}

/// Reads an object whole and compares it with what it says, and with what the catalog says.
pub async fn verify(objects: &Objects, candidate: Candidate) -> Result<Verified, ArchiveError> {
    let bytes = objects.get(&candidate.object).await?;
    let name = candidate.object.clone();
    let verified = blocking(move || {
        let found = sha256(&bytes);
        let known = candidate.known.as_ref().and_then(|archive| archive.contents);
        if let Some(known) = known.filter(|known| known.sha256 != found) {
            return Err(format!(
                "its SHA-256 is {found}, the catalog has {}",
                known.sha256
            ));
        }
        let length = bytes.len() as u64;
        let object = Object::open(bytes)?;
        let survey = object.survey()?;
        let contents = Contents {
            rows: survey.hasher.rows,
            bytes: length,
            checksum: survey.hasher.checksum,
            sha256: found,
        };
        if let Some(known) = known.filter(|known| *known != contents) {
            return Err(format!(
                "it has {} rows with the checksum {}, the catalog has {} with {}",
                contents.rows, contents.checksum, known.rows, known.checksum
            ));
        }
        Ok(Verified {
            candidate,
            object,
            contents,
            survey,
        })
    });
    verified.await.map_err(|error| match error {
        ArchiveError::Internal(why) => ArchiveError::Damaged { object: name, why },
        error => error,
    })
}

/// Puts the readings of an object into the database. `progress` is told how many rows are done.
pub async fn restore(
    archives: &dyn Archives,
    verified: Verified,
    terms: Terms,
    mut progress: impl FnMut(u64),
) -> Result<Ended, ArchiveError> {
    let Verified {
        candidate,
        object,
        contents,
        survey,
    } = verified;
    let series = match archives.adopt(&survey.names, survey.newest, terms.alone).await? {
        Adopted::Series(series) => series,
        Adopted::NotAlone(why) => return Ok(Ended::NotAlone(why)),
    };
    let series: BTreeMap<(String, String), SeriesId> = survey.names.iter().map(key).zip(series).collect();
    mark(archives, candidate, &object, contents, &survey, terms).await?;
    let mut outcome = Outcome::default();
    let object = std::sync::Arc::new(object);
    for at in 0..object.groups() {
        let read = object.clone();
        let rows = blocking(move || read.group(at)).await?;
        let mut numbers = Vec::with_capacity(rows.names.len());
        for name in &rows.names {
            let number = series.get(&key(name)).copied();
            numbers.push(number.ok_or_else(|| ArchiveError::Internal("a series has no number".to_owned()))?);
        }
        for chunk in rows.readings.chunks(CHUNK) {
            let began = Instant::now();
            let put: Vec<(SeriesId, StoredPoint)> = chunk
                .iter()
                .map(|(name, point)| (numbers[*name], *point))
                .collect();
            let restored = archives.restore(&put).await?;
            outcome.rows += chunk.len() as u64;
            outcome.stored += restored.stored;
            outcome.duplicates += restored.duplicates;
            outcome.conflicts += restored.conflicts.len() as u64;
            for (place, stored) in restored.conflicts {
                let (name, point) = &chunk[place];
                if outcome.examples.len() < EXAMPLES {
                    outcome.examples.push(Conflict {
                        series: rows.names[*name].clone(),
                        time: point.time,
                        archived: point.value,
                        stored,
                    });
                }
            }
            progress(outcome.rows);
            pause(began).await;
        }
    }
    Ok(Ended::Restored(outcome))
}

fn key(name: &SeriesName) -> (String, String) {
    (name.sensor.to_string(), name.metric.to_string())
}

/// Writes into the catalog that its day is restored.
async fn mark(
    archives: &dyn Archives,
    candidate: Candidate,
    object: &Object,
    contents: Contents,
    survey: &Survey,
    terms: Terms,
) -> Result<(), ArchiveError> {
    let mut archive = match candidate.known {
        Some(archive) => archive,
        None => {
            let taken = archives.catalog(&ArchivePage::of(object.day)).await?;
            let taken: Vec<u32> = taken.iter().map(|archive| archive.part).collect();
            let own = objects::parse_name(&candidate.object).map(|(_, part)| part);
            let part = own.filter(|part| !taken.contains(part));
            Archive {
                day: object.day,
                part: part.unwrap_or(taken.iter().max().map_or(1, |last| last + 1)),
                object: candidate.object,
                state: ArchiveState::Restored,
                up_to: survey.newest,
                contents: Some(contents),
                started_at: terms.now,
                verified_at: Some(terms.now),
                dropped_at: None,
                restored_at: None,
                keep_until: None,
            }
        }
    };
    archive.state = ArchiveState::Restored;
    archive.restored_at = Some(terms.now);
    archive.keep_until = terms.keep_until;
    archives.record_archive(&archive).await?;
    Ok(())
}
