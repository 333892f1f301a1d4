//! Who may store a position: epochs of partitions.

use sensorhive::domain::*;
use sensorhive::storage::*;

use crate::support::*;

pub async fn a_claim_takes_the_partitions_from_their_owner<F: Fixture>(fixture: F) {
    let (ours, theirs) = (opened(&fixture, 2).await, fixture.open().await);
    let partitions = ["t/1".to_owned(), "t/0".to_owned(), "t/1".to_owned()];
    let first = ours.claim_positions(&source(), &partitions).await.unwrap();
    assert!(first.iter().all(|claimed| claimed.offset.is_none()), "{first:?}");
    assert_eq!(ours.position(&source(), "t/1").await.unwrap(), None);

    let claim = |store| async move { F::Store::claim_positions(store, &source(), &["t/1".into()]).await };
    let epoch = claim(&ours).await.unwrap()[0].epoch;
    commit(&ours, vec![at_offset(2, "t/1", 10, Some(epoch))]).await;
    let taken = claim(&theirs).await.unwrap()[0];
    assert_eq!(taken.offset, Some(10));
    assert!(taken.epoch > epoch);

    // What is not theirs does not commit without the rest.
    let kept = at_offset(3, "t/0", 5, Some(first[1].epoch));
    let lost = group(vec![kept.clone(), at_offset(4, "t/1", 11, Some(epoch))]);
    for refused in [ours.commit(&lost).await.map(drop), ours.rehearse(&lost).await] {
        let error = refused.unwrap_err();
        assert_eq!(error.class, ErrorClass::Moved, "{error}");
    }
    assert_eq!(ours.position(&source(), "t/0").await.unwrap(), None);
    assert_eq!(stored(&ours, 0).await, [(2, 1.0)]);
    assert_eq!(ours.last_batch(&instance()).await.unwrap(), Some(BatchNumber(2)));
    // Whose partitions were taken looks first what else has changed.
    ours.claim_writer(&instance()).await.unwrap();
    let error = ours.commit(&lost).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Moved, "{error}");
    assert!(error.to_string().contains("partition t/1"), "{error}");
    commit(&ours, vec![kept]).await;

    // Nor does what was claimed by nobody, and a source is not another.
    let unclaimed = group(vec![at_offset(5, "t/9", 0, Some(1))]);
    assert_eq!(
        ours.commit(&unclaimed).await.unwrap_err().class,
        ErrorClass::Moved
    );
    let other = SourceName::parse("other").unwrap();
    assert_eq!(
        ours.claim_positions(&other, &["t/1".into()]).await.unwrap()[0].offset,
        None
    );

    // It comes back with what the other one stored.
    let theirs_now = InstanceId("other".into());
    theirs.claim_writer(&theirs_now).await.unwrap();
    let group = CommitGroup {
        instance: theirs_now,
        batches: vec![at_offset(6, "t/1", 20, Some(taken.epoch))],
    };
    theirs.commit(&group).await.unwrap();
    let back = claim(&ours).await.unwrap()[0];
    assert_eq!((back.offset, back.epoch > taken.epoch), (Some(20), true));
}

/// A batch with one reading at the time of its number, of a partition.
fn at_offset(number: u64, partition: &str, offset: i64, epoch: Option<i64>) -> CompleteBatch {
    let mut batch = batch(number, rows(&[(0, number as i64, 1.0)]));
    batch.positions.push(Position {
        source: source(),
        partition: partition.into(),
        offset,
        epoch,
    });
    batch
}

/// A transaction that stores a partition has ended when the partition is claimed, and the claim tells what it stored.
pub async fn a_claim_waits_for_a_commit_under_way<F: Fixture>(fixture: F) {
    let (ours, theirs) = (opened(&fixture, 2).await, fixture.open().await);
    let partition = ["t/1".to_owned()];
    for turn in 0..20 {
        ours.claim_writer(&instance()).await.unwrap();
        let ours_now = ours.claim_positions(&source(), &partition).await.unwrap()[0];
        let offset = 100 + turn;
        let group = group(vec![at_offset(
            2 + turn as u64,
            "t/1",
            offset,
            Some(ours_now.epoch),
        )]);
        let (source, pause) = (source(), async {
            for _ in 0..turn {
                tokio::task::yield_now().await;
            }
        });
        let claim = async {
            pause.await;
            // The embedded store gives up waiting after a while.
            loop {
                match theirs.claim_positions(&source, &partition).await {
                    Ok(claimed) => return claimed[0],
                    Err(error) => assert_eq!(error.class, ErrorClass::Transient, "{error}"),
                }
            }
        };
        let (committed, taken) = tokio::join!(ours.commit(&group), claim);
        let was_stored = taken.offset == Some(offset);
        match committed {
            Ok(_) => assert!(was_stored, "turn {turn}: {taken:?}"),
            Err(error) => assert!(
                !was_stored && matches!(error.class, ErrorClass::Moved | ErrorClass::Transient),
                "turn {turn}: {error}, {taken:?}"
            ),
        }
    }
}

pub async fn what_was_not_stored_for_long_is_forgotten<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    for (number, partition) in [
        (2, "file/a/0"),
        (3, "file/b/0"),
        (4, "other"),
        (5, "file/b/0"),
        (6, "file/%/0"),
    ] {
        commit(&store, vec![at_offset(number, partition, number as i64, None)]).await;
    }
    let at = |number| batch_time(number).now;
    let of = async |prefix| {
        let mut all = store.positions_of(&source(), prefix).await.unwrap();
        all.sort();
        all
    };
    let expected = [("file/%/0", 6), ("file/a/0", 2), ("file/b/0", 5)];
    let expected = expected.map(|(name, number)| (name.to_owned(), at(number)));
    assert_eq!(of("file/").await, expected);
    assert_eq!(of("file/%/").await, expected[..1]);
    let names: Vec<String> = ["file/a/0", "file/b/0", "other", "file/'; --"]
        .map(str::to_owned)
        .to_vec();
    let forget =
        async |names: &[String], before| store.forget_positions(&source(), names, before).await.unwrap();
    assert_eq!(forget(&names[..2], at(2)).await, 0);
    assert_eq!(forget(&names, at(5)).await, 2);
    assert_eq!(of("").await, [expected[0].clone(), expected[2].clone()]);
    assert_eq!(store.position(&source(), "file/a/0").await.unwrap(), None);
    assert_eq!(store.position(&source(), "file/b/0").await.unwrap(), Some(5));
}
