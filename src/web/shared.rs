//! One question to the database for all who ask it at the same time.
//!
//! Invariant: what somebody is told was read after he asked. So nobody joins a reading that is under way; all who come meanwhile
//! share the next one, and at most one runs at a time. How it fails: an answer may itself be a failure, which is shared like any
//! other; when the client leaves for whom it is read, that reading is given up and the next of the others begins anew.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

#[derive(Debug)]
pub struct Shared<T> {
    asked: AtomicU64,
    /// The answer, and up to which question it counts.
    last: Mutex<Option<(u64, T)>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self {
            asked: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }
}

impl<T: Clone> Shared<T> {
    /// What `read` answers, to whoever of us calls it.
    pub async fn ask(&self, read: impl AsyncFnOnce() -> T) -> T {
        let question = self.asked.fetch_add(1, Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some((upto, answer)) = &*last
            && question < *upto
        {
            return answer.clone();
        }
        let upto = self.asked.load(Ordering::SeqCst);
        let answer = read().await;
        *last = Some((upto, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_thousand_at_once_cost_two_readings() {
        let (shared, reads, gate) = (Shared::default(), Cell::new(0), Semaphore::new(0));
        let read = || {
            shared.ask(async || {
                reads.set(reads.get() + 1);
                let number = reads.get();
                gate.acquire().await.unwrap().forget();
                number
            })
        };
        let all = join_all((0..1_000).map(|_| read()));
        let (answers, ()) = tokio::join!(all, async { gate.add_permits(1_000) });
        // The first had begun before the others asked.
        assert_eq!(answers[0], 1);
        assert!(answers[1..].iter().all(|number| *number == 2));
        assert_eq!(reads.get(), 2);
    }

    #[tokio::test]
    async fn nobody_is_told_what_was_read_before_he_asked() {
        let (shared, value) = (Shared::default(), Cell::new(1));
        assert_eq!(shared.ask(async || value.get()).await, 1);
        value.set(2);
        assert_eq!(shared.ask(async || value.get()).await, 2);
    }

    #[tokio::test]
    async fn when_one_leaves_another_reads() {
        let shared = Shared::default();
        let mut first = Box::pin(shared.ask(std::future::pending));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = shared.ask(async || 2);
        let ((), answer) = tokio::join!(async { drop(first) }, second);
        assert_eq!(answer, 2);
    }
}
