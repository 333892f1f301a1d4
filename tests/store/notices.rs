//! The way of alerts to people: a turn is taken once, what was decided is there again, notifications are leased and done once.

use sensorhive::domain::*;
use sensorhive::storage::alerts::{Said, Shelf};
use sensorhive::storage::notices::*;
use sensorhive::storage::*;

use super::alerts::{event, with};
use crate::support::*;

fn notices(store: &impl Store) -> &dyn Notices {
    store.notices().unwrap()
}

fn notification(id: &str, at: i64, about: &[(i64, u32)]) -> NewNotification {
    NewNotification {
        id: id.to_owned(),
        receiver: "ops '; --".to_owned(),
        thread: "thread".to_owned(),
        digest: false,
        at: Timestamp(at),
        about: about
            .iter()
            .map(|(episode, ordinal)| (Episode(*episode), *ordinal))
            .collect(),
        body: format!("{{\"said\": \"<{id}>\"}}"),
    }
}

pub async fn what_was_decided_is_there_again<F: Fixture>(fixture: F) {
    use AlertState::{Firing, Resolved};
    let store = opened(&fixture, 4).await;
    let events = [event(1, 0, Firing), event(2, 0, Firing), event(1, 1, Resolved)];
    commit(&store, vec![batch(2, with(&events))]).await;
    let waiting = notices(&store).waiting_events(10).await.unwrap();
    let found: Vec<_> = waiting.iter().map(|waiting| waiting.event.clone()).collect();
    assert_eq!(found, events);
    assert_eq!(notices(&store).waiting_events(2).await.unwrap(), waiting[..2]);
    assert_eq!(
        notices(&store).alerting_state().await.unwrap(),
        AlertingState::default()
    );

    let decision = |what: &str| Decision {
        episode: Episode(1),
        at: Timestamp(5),
        receiver: Some("ops".into()),
        what: what.into(),
        detail: "'; drop table alerts; --".into(),
    };
    let decided = Decided {
        noticed: waiting.iter().map(|waiting| waiting.id).take(2).collect(),
        groups: vec![
            ("a".into(), Some("{}".into())),
            ("b".into(), Some("{\"x\":1}".into())),
        ],
        members: vec![
            ("a".into(), Episode(1), Some("{}".into())),
            ("a".into(), Episode(2), Some("{\"told\":\"ä\"}".into())),
        ],
        limits: vec![("ops".into(), Timestamp(77))],
        notifications: vec![notification("n-0", 5, &[(1, 0), (2, 0)])],
        decisions: vec![decision("routed"), decision("told")],
    };
    assert!(
        !notices(&store).decide(2, &decided).await.unwrap(),
        "not its turn"
    );
    assert!(notices(&store).decide(1, &decided).await.unwrap());
    assert!(
        !notices(&store).decide(1, &decided).await.unwrap(),
        "a turn is taken once"
    );
    let state = notices(&store).alerting_state().await.unwrap();
    let known: Vec<_> = state.alerts.iter().map(|alert| alert.event.clone()).collect();
    assert_eq!(known, events[..2], "as of what was noticed, whatever came after");
    assert_eq!(state.alerts[0].of, waiting[0].of);
    assert_eq!(
        (state.turn, &state.groups),
        (
            1,
            &vec![("a".into(), "{}".into()), ("b".into(), "{\"x\":1}".into())]
        )
    );
    assert_eq!(state.members.len(), 2);
    assert_eq!(
        state.members[1],
        ("a".into(), Episode(2), "{\"told\":\"ä\"}".into())
    );
    assert_eq!(state.limits, [("ops".into(), Timestamp(77))]);
    let left = notices(&store).waiting_events(10).await.unwrap();
    assert_eq!(left, waiting[2..]);
    assert_eq!(
        notices(&store).decisions(Episode(1), 10).await.unwrap(),
        decided.decisions
    );
    assert_eq!(
        notices(&store).decisions(Episode(1), 1).await.unwrap(),
        decided.decisions[1..]
    );

    let rest = Decided {
        noticed: vec![left[0].id],
        groups: vec![("a".into(), None), ("b".into(), Some("{}".into()))],
        members: vec![
            ("a".into(), Episode(1), None),
            ("a".into(), Episode(2), Some("{}".into())),
        ],
        ..Decided::default()
    };
    assert!(notices(&store).decide(2, &rest).await.unwrap());
    let state = notices(&store).alerting_state().await.unwrap();
    assert_eq!(
        (state.groups.len(), state.members.len(), state.alerts.len()),
        (1, 1, 1)
    );
    assert_eq!(notices(&store).notification_counts().await.unwrap().unnoticed, 0);
}

pub async fn a_notification_is_leased_and_done_once<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 4).await;
    let made = Decided {
        notifications: vec![
            notification("n-0", 5, &[(1, 0)]),
            notification("n-1", 6, &[(1, 1), (2, 0)]),
        ],
        ..Decided::default()
    };
    assert!(notices(&store).decide(1, &made).await.unwrap());
    let queue = notices(&store).to_send("ops '; --", 10).await.unwrap();
    assert_eq!(queue.iter().map(|one| one.due.0).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(notices(&store).to_send("ops", 10).await.unwrap(), []);
    let seq = queue[0].seq;
    let lease = async |by: &str, now, until| {
        let leased = notices(&store)
            .lease(seq, by, Timestamp(now), Timestamp(until))
            .await;
        leased.unwrap()
    };
    let leased = lease("one", 10, 20).await.unwrap();
    assert_eq!(
        (leased.body.as_str(), leased.at, leased.attempts),
        ("{\"said\": \"<n-0>\"}", Timestamp(5), 0)
    );
    assert_eq!(lease("two", 19, 40).await, None);
    assert!(
        lease("one", 19, 25).await.is_some(),
        "who has it may take it again"
    );
    assert!(lease("two", 25, 40).await.is_some(), "a lease ends");
    let attempt = |state, taken: &[&str]| Attempt {
        state,
        at: Timestamp(30),
        due: Timestamp(50),
        answered: vec!["a@b".into(), "c@d".into()],
        taken: taken.iter().map(|taken| (*taken).to_owned()).collect(),
        answer: "250 '; --".into(),
    };
    // Who has lost his lease changes nothing.
    notices(&store)
        .attempted(seq, "one", &attempt(SendState::Sent, &[]))
        .await
        .unwrap();
    notices(&store)
        .attempted(seq, "two", &attempt(SendState::Waiting, &["a@b"]))
        .await
        .unwrap();
    let queue = notices(&store).to_send("ops '; --", 10).await.unwrap();
    assert_eq!(
        (queue[0].due, queue[0].partly, queue.len()),
        (Timestamp(50), true, 2)
    );
    let leased = lease("one", 50, 60).await.unwrap();
    assert_eq!(
        (leased.attempts, leased.answered.len(), leased.taken),
        (1, 2, vec!["a@b".to_owned()])
    );
    notices(&store)
        .attempted(seq, "one", &attempt(SendState::Sent, &["a@b"]))
        .await
        .unwrap();
    assert_eq!(lease("one", 90, 100).await, None, "it is done");

    let all = NotificationFilter {
        limit: 10,
        ..NotificationFilter::default()
    };
    let log = notices(&store).notifications(&all).await.unwrap();
    let shown: Vec<_> = log
        .iter()
        .map(|one| (one.id.as_str(), one.state, one.alerts))
        .collect();
    assert_eq!(
        shown,
        [("n-1", SendState::Waiting, 2), ("n-0", SendState::Sent, 1)]
    );
    assert_eq!((log[1].done_at, log[1].attempts), (Some(Timestamp(30)), 2));
    let about = NotificationFilter {
        about: Some(Episode(2)),
        ..all.clone()
    };
    assert_eq!(notices(&store).notifications(&about).await.unwrap().len(), 1);
    assert_eq!(
        notices(&store).notified_alerts("n-1").await.unwrap(),
        [Episode(1), Episode(2)]
    );
    assert_eq!(
        notices(&store)
            .park_others(&["other"], Timestamp(70))
            .await
            .unwrap(),
        1
    );
    let counts = notices(&store).notification_counts().await.unwrap();
    assert_eq!((counts.waiting, counts.parked), (0, 1));
    assert!(
        !notices(&store).send_again("n-0", Timestamp(80)).await.unwrap(),
        "it was sent"
    );
    assert!(notices(&store).send_again("n-1", Timestamp(80)).await.unwrap());
    assert_eq!(
        notices(&store).to_send("ops '; --", 10).await.unwrap()[0].due,
        Timestamp(80)
    );
    assert_eq!(notices(&store).notification_body("n-2").await.unwrap(), None);
}

pub async fn what_was_shelved_is_said_until_it_is_over<F: Fixture>(fixture: F) {
    use AlertState::{Firing, Resolved};
    let store = opened(&fixture, 4).await;
    commit(
        &store,
        vec![batch(2, with(&[event(1, 0, Firing), event(2, 0, Firing)]))],
    )
    .await;
    let shelf = Shelf {
        by: "ada".into(),
        at: Timestamp(7),
        until: Timestamp(70),
        comment: "later".into(),
    };
    let alerts = store.alerts().unwrap();
    assert!(alerts.shelve(Episode(1), Some(&shelf)).await.unwrap());
    assert!(!alerts.shelve(Episode(9), Some(&shelf)).await.unwrap());
    let said = Said {
        acknowledged: None,
        shelved: Some(shelf),
    };
    assert_eq!(notices(&store).said().await.unwrap(), [(Episode(1), said)]);
    let counts = alerts.alert_counts().await.unwrap();
    assert_eq!((counts.by_level, counts.unacknowledged), ([0, 0, 2, 0], 2));
    commit(&store, vec![batch(3, with(&[event(1, 1, Resolved)]))]).await;
    assert_eq!(notices(&store).said().await.unwrap(), []);
    assert!(alerts.shelve(Episode(1), None).await.unwrap());
    assert_eq!(
        alerts.alert(Episode(1)).await.unwrap().unwrap().said,
        Said::default()
    );
}
