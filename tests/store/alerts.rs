//! Alerts: events once, rows as of the last, people's words beside them.

use std::collections::BTreeMap;

use sensorhive::domain::*;
use sensorhive::storage::alerts::{Acknowledgement, AlertFilter, Alerts, NewSilence};
use sensorhive::storage::outbox::Record;
use sensorhive::storage::*;

use crate::support::*;

fn alerts(store: &impl Store) -> &dyn Alerts {
    store.alerts().unwrap()
}

/// The event with this ordinal of an episode of series 0 and 2.
pub fn event(episode: i64, ordinal: u32, state: AlertState) -> AlertEvent {
    AlertEvent {
        episode: Episode(episode),
        ordinal,
        change: if state == AlertState::Resolved {
            AlertChange::Resolved
        } else {
            AlertChange::Raised
        },
        time: Timestamp(1_000 * episode + i64::from(ordinal)),
        series: SeriesId(if episode % 2 == 0 { 0 } else { 2 }),
        rule: "too hot '; --".into(),
        state,
        level: Level::Error,
        began: Timestamp(1_000 * episode),
        value: Some(93.5),
        threshold: Some(80.0),
        expected: Band {
            low: None,
            high: Some(80.0),
        },
        flapping: ordinal > 1,
        reason: format!("The value is number {ordinal}."),
    }
}

pub fn with(events: &[AlertEvent]) -> SliceOutcome {
    SliceOutcome {
        alerts: events.to_vec(),
        ..SliceOutcome::default()
    }
}

fn all() -> AlertFilter {
    AlertFilter {
        limit: 100,
        ..AlertFilter::default()
    }
}

async fn found(store: &impl Store, filter: &AlertFilter) -> Vec<i64> {
    let found = alerts(store).alerts(filter).await.unwrap();
    found.iter().map(|alert| alert.last.episode.0).collect()
}

pub async fn an_event_is_stored_once_and_the_row_is_the_last<F: Fixture>(fixture: F) {
    use AlertState::{Firing, Recovering, Resolved};
    let store = opened(&fixture, 4).await;
    let first = event(1, 0, Firing);
    commit(&store, vec![batch(2, with(std::slice::from_ref(&first)))]).await;
    let stored = alerts(&store).alert(Episode(1)).await.unwrap().unwrap();
    assert_eq!(
        (&stored.last, stored.ended, stored.said.acknowledged),
        (&first, None, None)
    );

    // Again, another version of it, and two at once in a group.
    let other = AlertEvent {
        reason: "another".into(),
        ..first.clone()
    };
    let (second, third) = (event(1, 1, Recovering), event(1, 2, Resolved));
    commit(
        &store,
        vec![
            batch(3, with(&[first.clone(), second.clone()])),
            batch(4, with(&[other, third.clone()])),
        ],
    )
    .await;
    let stored = alerts(&store).alert(Episode(1)).await.unwrap().unwrap();
    assert_eq!((&stored.last, stored.ended), (&third, Some(third.time)));
    // A replay of what was before.
    commit(&store, vec![batch(5, with(std::slice::from_ref(&second)))]).await;
    let stored = alerts(&store).alert(Episode(1)).await.unwrap().unwrap();
    assert_eq!(stored.last, third);
    let events = alerts(&store).alert_events(Episode(1), 10).await.unwrap();
    assert_eq!(events, [first, second.clone(), third.clone()]);
    let last = alerts(&store).alert_events(Episode(1), 2).await.unwrap();
    assert_eq!(last, [second, third]);
    assert_eq!(alerts(&store).alert(Episode(7)).await.unwrap(), None);
}

pub async fn a_list_of_alerts_is_filtered_and_goes_on<F: Fixture>(fixture: F) {
    use AlertState::{Firing, Resolved};
    let store = opened(&fixture, 4).await;
    let state = |episode| if episode < 3 { Resolved } else { Firing };
    let events: Vec<_> = (1..=5).map(|episode| event(episode, 0, state(episode))).collect();
    commit(&store, vec![batch(2, with(&events))]).await;
    assert_eq!(found(&store, &all()).await, [5, 4, 3, 2, 1]);
    let page = AlertFilter {
        limit: 2,
        after: Some((Timestamp(4_000), Episode(4))),
        ..all()
    };
    assert_eq!(found(&store, &page).await, [3, 2]);
    let of = |states: &[AlertState]| AlertFilter {
        states: Some(states.to_vec()),
        ..all()
    };
    assert_eq!(found(&store, &of(&[Firing])).await, [5, 4, 3]);
    assert_eq!(found(&store, &of(&[])).await, [0; 0]);
    let series = AlertFilter {
        series: Some(vec![SeriesId(0)]),
        ..all()
    };
    assert_eq!(found(&store, &series).await, [4, 2]);
    let level = |level| AlertFilter {
        levels: Some(vec![level]),
        ..all()
    };
    assert_eq!(found(&store, &level(Level::Error)).await.len(), 5);
    assert_eq!(found(&store, &level(Level::Critical)).await.len(), 0);
    let rule = |name: &str| AlertFilter {
        rule: Some(name.to_owned()),
        ..all()
    };
    assert_eq!(found(&store, &rule("too hot '; --")).await.len(), 5);
    assert_eq!(found(&store, &rule("too")).await.len(), 0);
}

pub async fn a_sensor_comes_back_with_the_alerts_that_it_may_change<F: Fixture>(fixture: F) {
    use AlertState::{Firing, NoData, Resolved};
    let store = opened(&fixture, 4).await;
    let old = [event(2, 0, Resolved), event(4, 0, Firing), event(1, 0, NoData)];
    commit(&store, vec![batch(2, with(&old))]).await;
    let mut snapshot = with(&[]);
    snapshot.snapshots.push(Snapshot {
        sensor: SensorKey(0),
        seq: BatchNumber(3).end(),
        state: vec![1],
        deadline: None,
        complete: true,
    });
    commit(&store, vec![batch(3, snapshot)]).await;
    commit(&store, vec![batch(4, with(&[event(6, 0, Resolved)]))]).await;
    let load = async |sensor: u32| {
        let mut loaded = store
            .load_sensors(&[SensorKey(9), SensorKey(sensor)], 10)
            .await
            .unwrap();
        let known = loaded.sensors.pop().unwrap();
        assert_eq!(loaded.sensors[0].alerts, []);
        known.alerts
    };
    assert_eq!(load(0).await, [event(4, 0, Firing), event(6, 0, Resolved)]);
    assert_eq!(load(1).await, [event(1, 0, NoData)]);
    let recent = store.load_recent(SensorKey(1), 10).await.unwrap();
    assert_eq!(recent.sensors[0].alerts, [event(1, 0, NoData)]);
    // Nothing was said since, but both have an alert that may have to end.
    let behind = store.sensors_behind(&Scope::All).await.unwrap();
    assert_eq!(behind, [SensorKey(0), SensorKey(1)]);
}

pub async fn what_people_say_of_an_alert_stays<F: Fixture>(fixture: F) {
    use AlertState::{Firing, Resolved};
    let store = opened(&fixture, 4).await;
    commit(&store, vec![batch(2, with(&[event(1, 0, Firing)]))]).await;
    let by = |by: &str| Acknowledgement {
        by: by.to_owned(),
        at: Timestamp(77),
        comment: "on my way '; drop table alerts; --".to_owned(),
    };
    assert!(alerts(&store).acknowledge(Episode(1), &by("ada")).await.unwrap());
    assert!(!alerts(&store).acknowledge(Episode(1), &by("bob")).await.unwrap());
    assert!(!alerts(&store).acknowledge(Episode(8), &by("ada")).await.unwrap());
    commit(&store, vec![batch(3, with(&[event(1, 1, Resolved)]))]).await;
    let stored = alerts(&store).alert(Episode(1)).await.unwrap().unwrap();
    assert_eq!(
        (stored.last.state, stored.said.acknowledged),
        (Resolved, Some(by("ada")))
    );
}

pub async fn silences_last_until_they_end<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let silence = |until| NewSilence {
        matchers: BTreeMap::from([("sensor".to_owned(), "boiler-*".to_owned())]),
        from: Timestamp(10),
        until: Timestamp(until),
        by: "ada".into(),
        comment: "cleaning".into(),
    };
    let short = alerts(&store).add_silence(&silence(20)).await.unwrap();
    let long = alerts(&store).add_silence(&silence(100)).await.unwrap();
    let last = async |now| {
        let found = alerts(&store).silences(Timestamp(now)).await.unwrap();
        found.into_iter().map(|silence| silence.id).collect::<Vec<_>>()
    };
    assert_eq!(last(19).await, [long, short]);
    assert_eq!(last(20).await, [long]);
    let found = alerts(&store).silences(Timestamp(20)).await.unwrap();
    assert_eq!(found[0].said, silence(100));
    assert!(alerts(&store).end_silence(long, Timestamp(30)).await.unwrap());
    assert!(!alerts(&store).end_silence(long, Timestamp(31)).await.unwrap());
    assert!(!alerts(&store).end_silence(4_711, Timestamp(31)).await.unwrap());
    assert_eq!(last(30).await, [0; 0]);
}

pub async fn events_are_in_the_outbox_once<F: Fixture>(fixture: F) {
    use AlertState::{Firing, Resolved};
    drop(opened(&fixture, 4).await);
    let wanted = Wanted {
        alerts: true,
        ..Wanted::default()
    };
    let store = fixture.open_with(wanted).await;
    store.claim_writer(&instance()).await.unwrap();
    let outbox = store.outbox().unwrap();
    outbox.open_outputs(&instance(), &["out"]).await.unwrap();
    let first = event(1, 0, Firing);
    let twice = [first.clone(), first.clone()];
    commit(
        &store,
        vec![
            batch(2, with(&twice)),
            batch(3, with(std::slice::from_ref(&first))),
        ],
    )
    .await;
    commit(
        &store,
        vec![batch(4, with(&[first.clone(), event(1, 1, Resolved)]))],
    )
    .await;
    let rows = outbox.outbox_rows(&instance(), 0, 1 << 30).await.unwrap();
    let records: Vec<_> = rows.iter().flat_map(|row| row.records().unwrap()).collect();
    let ids: Vec<_> = records.iter().map(|sendable| sendable.record.id()).collect();
    assert_eq!(ids, ["e-1-0", "e-1-1"]);
    assert_eq!(records[0].record, Record::Alert(first));
    let waiting = outbox.outbox_waiting(&instance(), 0).await.unwrap();
    assert_eq!(waiting.records.alerts, 2);
}
