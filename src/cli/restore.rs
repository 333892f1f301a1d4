//! `restore-archive`: readings from the cold archive back into the database.
//!
//! Invariants: how far it is goes to standard error, what it came to is the last line on standard output. One damaged
//! object does not keep the others from coming back; the exit code tells of it.

use std::time::{Duration, Instant};

use super::args::RestoreArgs;
use super::commands::{Outcome, print, with_store};
use super::exit::{CommandError, ExitCode};
use crate::archive::restore::{self, Candidate, Conflict, Ended, Terms};
use crate::archive::{ArchiveError, Objects};
use crate::clock::{Clock, SystemClock};
use crate::domain::{Day, Micros};
use crate::settings::Settings;
use crate::startup::{Lock, lock_database, open_archive};
use crate::storage::archives::{ArchivePage, ArchiveState, Archives};

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

pub fn restore_archive(settings: &Settings, args: &RestoreArgs) -> Outcome {
    let Some(objects) = open_archive(settings)? else {
        let text = "no archive is configured; set storage.archive.url to where it is";
        return Err(CommandError::new(ExitCode::Usage, text));
    };
    with_store(settings, async |store| {
        let Some(archives) = store.archives() else {
            let text = format!("{} keeps no readings", store.describe());
            return Err(CommandError::new(ExitCode::Usage, text));
        };
        if args.release {
            return release(archives, args).await;
        }
        let candidates = match &args.object {
            Some(object) => vec![restore::named(archives, object).await?],
            None => {
                let (from, to) = (args.from.unwrap_or(Day::MIN), args.to.unwrap_or(Day::MAX));
                restore::find(&objects, archives, from, to).await?
            }
        };
        if candidates.is_empty() {
            let text = format!("there are no objects of these days at {}", objects.place());
            return Err(CommandError::new(ExitCode::Failed, text));
        }
        let mut work = Work {
            settings,
            objects: &objects,
            archives,
            args,
            lock: None,
            sum: Sum::default(),
            began: Instant::now(),
            told: Instant::now(),
        };
        let count = candidates.len();
        for (place, candidate) in candidates.into_iter().enumerate() {
            work.one(candidate, place, count).await?;
        }
        work.end()
    })
}

async fn release(archives: &dyn Archives, args: &RestoreArgs) -> Outcome {
    let page = ArchivePage {
        from: args.from.unwrap_or(Day::MIN),
        to: args.to.unwrap_or(Day::MAX),
        ..ArchivePage::in_state(ArchiveState::Restored)
    };
    let mut days: Vec<Day> = archives
        .catalog(&page)
        .await?
        .iter()
        .map(|archive| archive.day)
        .collect();
    days.dedup();
    for day in &days {
        let (restored, verified) = (ArchiveState::Restored, ArchiveState::Verified);
        archives
            .advance(*day, restored, verified, SystemClock.now())
            .await?;
    }
    print(&format!("{} restored days released", days.len()))
}

/// What all objects came to.
#[derive(Debug, Default)]
struct Sum {
    objects: u64,
    rows: u64,
    stored: u64,
    duplicates: u64,
    conflicts: u64,
    failed: u64,
}

struct Work<'a> {
    settings: &'a Settings,
    objects: &'a Objects,
    archives: &'a dyn Archives,
    args: &'a RestoreArgs,
    /// Taken when the first object needs to be alone, and held from then on.
    lock: Option<Lock>,
    sum: Sum,
    began: Instant,
    told: Instant,
}

impl Work<'_> {
    async fn one(&mut self, candidate: Candidate, place: usize, count: usize) -> Outcome {
        let name = candidate.object.clone();
        if candidate.is_unfinished() {
            eprintln!("{name}: its export never came to its end; what it holds is in the database");
            return Ok(());
        }
        let now = SystemClock.now();
        let mut terms = Terms {
            now,
            keep_until: self
                .args
                .keep
                .map(|keep| now.saturating_add(Micros::try_from(keep.as_micros()).unwrap_or(Micros::MAX))),
            alone: self.lock.is_some(),
        };
        let verified = match restore::verify(self.objects, candidate.clone()).await {
            Ok(verified) => verified,
            Err(error @ (ArchiveError::Damaged { .. } | ArchiveError::Missing { .. })) => {
                eprintln!("{error}");
                self.sum.failed += 1;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let rows = verified.rows();
        if self.args.dry_run {
            eprintln!("{name}: {rows} rows of {}, good", verified.day());
            self.sum.objects += 1;
            self.sum.rows += rows;
            return Ok(());
        }
        let mut ended = self.restore(verified, terms, &name, place, count).await?;
        if let Ended::NotAlone(why) = &ended {
            self.lock = Some(lock_database(self.settings, None).await.map_err(|error| {
                let text = format!("{name}: {why}; stop the service first ({error})");
                CommandError::new(ExitCode::Storage, text)
            })?);
            terms.alone = true;
            let again = restore::verify(self.objects, candidate).await?;
            ended = self.restore(again, terms, &name, place, count).await?;
        }
        let Ended::Restored(outcome) = ended else {
            return Err(CommandError::new(
                ExitCode::Failed,
                format!("{name}: nobody else is there, and yet"),
            ));
        };
        self.sum.objects += 1;
        self.sum.rows += outcome.rows;
        self.sum.stored += outcome.stored;
        self.sum.duplicates += outcome.duplicates;
        self.sum.conflicts += outcome.conflicts;
        for conflict in &outcome.examples {
            eprintln!("{name}: {}", told(conflict));
        }
        let more = outcome.conflicts - outcome.examples.len() as u64;
        if more > 0 {
            eprintln!("{name}: {more} more conflicts");
        }
        Ok(())
    }

    async fn restore(
        &mut self,
        verified: restore::Verified,
        terms: Terms,
        name: &str,
        place: usize,
        count: usize,
    ) -> Result<Ended, CommandError> {
        let (of, before, began) = (verified.rows().max(1), self.sum.rows, self.began);
        let told = &mut self.told;
        let progress = |rows: u64| {
            if told.elapsed() < PROGRESS_EVERY && rows < of {
                return;
            }
            *told = Instant::now();
            let done = (place as f64 + rows as f64 / of as f64) / count as f64 * 100.0;
            let rate = (before + rows) as f64 / began.elapsed().as_secs_f64().max(0.001);
            eprintln!("{name}: {rows} of {of} rows, {rate:.0} rows/s, {done:.0} % of all");
        };
        Ok(restore::restore(self.archives, verified, terms, progress).await?)
    }

    fn end(self) -> Outcome {
        let Sum {
            objects,
            rows,
            stored,
            duplicates,
            conflicts,
            failed,
        } = self.sum;
        if self.args.dry_run {
            print(&format!("{objects} objects with {rows} rows are good"))?;
        } else {
            print(&format!(
                "{objects} objects with {rows} rows: {stored} put back, {duplicates} were there, {conflicts} conflict with others and were left out"
            ))?;
        }
        match failed {
            0 => Ok(()),
            failed => Err(CommandError::new(
                ExitCode::Failed,
                format!("{failed} objects are damaged or missing, nothing of them was put back"),
            )),
        }
    }
}

fn told(conflict: &Conflict) -> String {
    let Conflict {
        series,
        time,
        archived,
        stored,
    } = conflict;
    format!(
        "{} of {} at {time}: {archived} is archived, {stored} is stored and stays",
        series.metric,
        series.sensor.as_str().escape_debug()
    )
}

impl From<ArchiveError> for CommandError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => error.into(),
            error => CommandError::new(ExitCode::Failed, error),
        }
    }
}
