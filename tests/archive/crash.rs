//! Whatever is asked of the database fails once, before it was done and after it: the next run goes on, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use sensorhive::domain::*;
use sensorhive::storage::archives::*;
use sensorhive::storage::history::StoredPoint;
use sensorhive::storage::*;

use crate::support::*;
use crate::world::*;

/// Fails at one of the questions, which it may have carried out before.
struct Failing<S> {
    inner: Arc<S>,
    /// Questions until then.
    left: AtomicI64,
    carried_out: bool,
}

impl<S: Store> Failing<S> {
    fn inner(&self) -> &dyn Archives {
        self.inner.archives().unwrap()
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let fails = self.left.fetch_sub(1, Ordering::Relaxed) == 0;
        if fails && !self.carried_out {
            return Err(StoreError::new(
                ErrorClass::Transient,
                "an injected fault",
                "as planned",
            ));
        }
        let answer = question.await;
        if fails {
            return Err(StoreError::new(
                ErrorClass::Unknown,
                "an injected fault",
                "as planned",
            ));
        }
        answer
    }

    fn has_failed(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }
}

macro_rules! fails {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        #[async_trait]
        impl<S: Store> Archives for Failing<S> {
            $(async fn $name(&self $(, $argument: $type)*) -> Result<$answer, StoreError> {
                self.ask(self.inner().$name($($argument),*)).await
            })+
        }
    };
}

fails! {
    next_to_archive(from: Day, before: Timestamp) -> Option<Day>;
    export_up_to(day: Day) -> Option<Seq>;
    page(span: &Span, after: Option<(SeriesId, Timestamp)>, limit: usize) -> Vec<(SeriesId, StoredPoint)>;
    count(span: &Span) -> u64;
    names(series: &[SeriesId]) -> Vec<(SeriesId, SeriesName)>;
    catalog(page: &ArchivePage) -> Vec<Archive>;
    record_archive(archive: &Archive) -> ();
    discard_unfinished(day: Day) -> ();
    advance(day: Day, from: ArchiveState, to: ArchiveState, at: Timestamp) -> u64;
    release_restored(now: Timestamp) -> u64;
    droppable(days: &[Day]) -> Vec<Vec<Day>>;
    drop_days(days: &[Day], at: Timestamp) -> Dropped;
    adopt(names: &[SeriesName], newest: Seq, alone: bool) -> Adopted;
    restore(rows: &[(SeriesId, StoredPoint)]) -> Restored;
}

/// A day for each question that a run asks, with two objects and a late reading: it fails there, and is done by the next runs.
pub async fn whatever_fails_goes_on_where_it_was<F: Fixture>(fixture: F) {
    let store = Arc::new(filled(&fixture).await);
    let world = World::new();
    let sizes = sensorhive::archive::Sizes {
        group: 16,
        rows: 16,
        bytes: 1 << 20,
    };
    let first = day(29);
    let (mut number, mut n, mut all) = (1, 0, Vec::new());
    for carried_out in [false, true] {
        let mut question = 0;
        loop {
            let day = after(first, n % 28);
            number += 1;
            n += 1;
            // Days come round again: what is archived of them by then has other times.
            commit(&*store, vec![settled(number, &readings(day, 5, n))]).await;
            all.extend(everything_stored(&*store).await);
            let failing = Failing {
                inner: store.clone(),
                left: AtomicI64::new(question),
                carried_out,
            };
            world.set(after(first, 28), 4);
            let archiver = world.archiver().sizes(sizes);
            let _ = archiver.run(&failing, &world.clock).await;
            if !failing.has_failed() {
                break;
            }
            for _ in 0..3 {
                // A new one, as after a restart.
                let archives = store.archives().unwrap();
                world
                    .archiver()
                    .sizes(sizes)
                    .run(archives, &world.clock)
                    .await
                    .unwrap();
            }
            assert_same!(everything_stored(&*store).await, []);
            question += 1;
        }
        assert!(question > 15, "{question} questions");
    }
    for (day, part, state) in states(&*store).await {
        assert_eq!(state, ArchiveState::Dropped, "{day} {part}");
    }
    world
        .restore(&*store, (first, after(first, 28)), None, false)
        .await
        .unwrap();
    let mut back = everything_stored(&*store).await;
    back.sort_by_key(|row| (row.0, row.1));
    all.sort_by_key(|row| (row.0, row.1));
    assert_same!(back, all);
}
