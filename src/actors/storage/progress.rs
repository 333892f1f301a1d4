//! How far the writer has come, for those who wait for it.

use tokio::sync::watch;

use crate::actors::Rails;
use crate::domain::BatchNumber;

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub epoch: u64,
    /// How many batches of this epoch have committed: every ordinal below it.
    pub committed: u64,
    /// The last batch that committed, in any epoch.
    pub last: Option<BatchNumber>,
    /// Changes with every commit that may have held events of alerts.
    pub alerts: u64,
}

/// Resolves when all ordinals below `ordinal` of `epoch` have committed; `false` if that epoch has ended before.
pub async fn committed(mut progress: watch::Receiver<Progress>, epoch: u64, ordinal: u64) -> bool {
    let reached = progress
        .wait_for(|progress| {
            progress.epoch > epoch || (progress.epoch == epoch && progress.committed >= ordinal)
        })
        .await;
    reached.is_ok_and(|progress| progress.epoch == epoch)
}

/// Resolves when everything that was dispatched so far has committed.
pub async fn settled(rails: &Rails, progress: &watch::Receiver<Progress>) {
    loop {
        let (epoch, ordinal) = rails.dispatched();
        if committed(progress.clone(), epoch, ordinal).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_for_the_ordinal_and_gives_up_with_the_epoch() {
        let (tx, rx) = watch::channel(Progress {
            epoch: 1,
            committed: 2,
            last: None,
            alerts: 0,
        });
        assert!(committed(rx.clone(), 1, 2).await);
        let waiting = tokio::spawn(committed(rx.clone(), 1, 3));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        tx.send_modify(|progress| progress.committed = 3);
        assert!(waiting.await.unwrap());
        let waiting = tokio::spawn(committed(rx, 1, 9));
        tokio::task::yield_now().await;
        tx.send_modify(|progress| {
            *progress = Progress {
                epoch: 2,
                committed: 20,
                last: None,
                alerts: 0,
            }
        });
        assert!(!waiting.await.unwrap());
    }
}
