//! Window results and their revisions.

use sensorhive::core::windows::Aggregate;
use sensorhive::domain::*;
use sensorhive::storage::*;

use crate::support::*;

fn span(series: u32, start: i64) -> WindowSpan {
    WindowSpan {
        series: SeriesId(series),
        kind: WindowKind::Tumbling,
        size: 60,
        start: Timestamp(start),
    }
}

fn closed(span: WindowSpan, readings: &[(i64, f64)]) -> WindowResult {
    let readings = readings.iter().map(|&(time, value)| (Timestamp(time), value));
    Aggregate::from_rows(readings).unwrap().result(span, 0)
}

async fn windows(store: &impl Store, series: u32) -> Vec<WindowResult> {
    store.windows(SeriesId(series), &everything()).await.unwrap()
}

pub async fn a_window_is_revised_only_when_it_changes<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let first = closed(span(0, 0), &[(1, 1.0), (30, 4.0)]);
    let mut outcome = rows(&[(0, 1, 1.0), (0, 30, 4.0), (0, 60, 99.0)]);
    outcome.windows.push(first);
    commit(&store, vec![batch(2, outcome.clone())]).await;
    assert_eq!(windows(&store, 0).await, [first]);

    // The same result again, from a replay.
    let mut again = SliceOutcome::default();
    again.windows.push(first);
    let report = commit(&store, vec![batch(3, again)]).await;
    assert_eq!(
        (windows(&store, 0).await, report.batches[0].revised.len()),
        (vec![first], 0)
    );

    // A late reading: with it, it is the next revision; asked again without a change, it stays.
    let mut late = rows(&[(0, 10, -3.0)]);
    late.recompute.push(span(0, 0));
    let report = commit(&store, vec![batch(4, late)]).await;
    let mut expected = closed(span(0, 0), &[(1, 1.0), (10, -3.0), (30, 4.0)]);
    expected.revision = 1;
    assert_eq!(report.batches[0].revised, [expected]);
    assert_eq!(windows(&store, 0).await, [expected]);
    let mut idle = SliceOutcome::default();
    idle.recompute.push(span(0, 0));
    let report = commit(&store, vec![batch(5, idle)]).await;
    assert_eq!(report.batches[0].revised, [expected]);

    // The replay of the first close knows less than is stored: it does not undo the revision.
    let mut replay = SliceOutcome::default();
    replay.windows.push(first);
    commit(&store, vec![batch(6, replay)]).await;
    assert_eq!(windows(&store, 0).await, [expected]);

    // A catch-up closes it with a reading that had passed through: it knows more than is stored.
    let mut caught_up = rows(&[(0, 20, 8.0)]);
    let readings = [(1, 1.0), (10, -3.0), (20, 8.0), (30, 4.0)];
    caught_up.windows.push(closed(span(0, 0), &readings));
    let report = commit(&store, vec![batch(7, caught_up)]).await;
    let mut expected = closed(span(0, 0), &readings);
    expected.revision = 2;
    assert_eq!(report.batches[0].revised, [expected]);
    assert_eq!(windows(&store, 0).await, [expected]);
}

pub async fn a_window_computed_again_from_the_same_readings_is_not_revised<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let arrived = [(30, 20.1), (1, 0.1), (20, 0.7), (10, 0.3)];
    let first = closed(span(0, 0), &arrived);
    let mut sorted = arrived;
    sorted.sort_by_key(|(time, _)| *time);
    assert_ne!(
        closed(span(0, 0), &sorted),
        first,
        "these add up the same in any order"
    );
    let mut outcome = rows(&arrived.map(|(time, value)| (0, time, value)));
    outcome.windows.push(first);
    commit(&store, vec![batch(2, outcome.clone())]).await;
    // An old reading sent again makes its sensor doubt the window.
    let mut again = rows(&[(0, 1, 0.1)]);
    again.recompute.push(span(0, 0));
    let report = commit(&store, vec![batch(3, again)]).await;
    assert_eq!(report.batches[0].duplicates, [0]);
    assert_eq!(windows(&store, 0).await, [first]);
}

pub async fn a_window_is_computed_from_stored_rows<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    commit(
        &store,
        vec![batch(2, rows(&[(0, 119, 5.0), (0, 120, 1e9), (0, 59, 1e9)]))],
    )
    .await;
    let mut outcome = rows(&[(0, 60, 2.0), (0, 70, 6.0), (0, 119, 7.0), (1, 70, 8.0)]);
    outcome.recompute.extend([span(0, 60), span(1, 0)]);
    let mut more = rows(&[(0, 90, 2.0)]);
    more.recompute.push(span(0, 60));
    more.poison.push((SeriesId(0), Timestamp(70)));
    let report = commit(&store, vec![batch(3, outcome), batch(4, more)]).await;
    // Computed once, after everything in the group; the poisonous reading and the conflict are not in it.
    let expected = closed(span(0, 60), &[(60, 2.0), (90, 2.0), (119, 5.0)]);
    assert_eq!(report.batches[0].revised, []);
    assert_eq!(report.batches[1].revised, [expected]);
    assert_eq!(windows(&store, 0).await, [expected]);
    assert_eq!(windows(&store, 1).await, []);
    let flagged = store.readings(SeriesId(0), &everything()).await.unwrap();
    let flagged: Vec<_> = flagged
        .iter()
        .filter(|point| point.flags.has(Flags::POISON))
        .map(|point| point.time.0)
        .collect();
    assert_eq!(flagged, [70]);
}

pub async fn a_window_goes_when_all_it_was_computed_from_is_poison<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let mut outcome = rows(&[(0, 10, 1e9), (0, 20, 2e9), (0, 70, 3.0), (0, 80, 1e9)]);
    let both = [
        closed(span(0, 0), &[(10, 1e9), (20, 2e9)]),
        closed(span(0, 60), &[(70, 3.0), (80, 1e9)]),
    ];
    outcome.windows.extend(both);
    // Its readings are not stored any more.
    let expired = closed(span(1, 0), &[(10, 1.0), (20, 2.0)]);
    outcome.windows.push(expired);
    commit(&store, vec![batch(2, outcome)]).await;
    assert_eq!(windows(&store, 0).await, both);

    let flag = |readings: &[(u32, i64)]| SliceOutcome {
        poison: readings
            .iter()
            .map(|&(series, time)| (SeriesId(series), Timestamp(time)))
            .collect(),
        recompute: vec![span(0, 0), span(0, 60), span(1, 0)],
        ..SliceOutcome::default()
    };
    commit(&store, vec![batch(3, flag(&[(0, 20)]))]).await;
    let mut left = closed(span(0, 0), &[(10, 1e9)]);
    left.revision = 1;
    assert_eq!(windows(&store, 0).await, [left, both[1]]);

    let mut late = rows(&[(1, 30, 1e9), (1, 40, 1e9)]);
    late.append(&mut flag(&[(0, 10), (0, 80), (1, 30), (1, 40)]));
    let report = commit(&store, vec![batch(4, late)]).await;
    let mut second = closed(span(0, 60), &[(70, 3.0)]);
    second.revision = 1;
    assert_eq!(windows(&store, 0).await, [second]);
    assert_eq!(report.batches[0].revised, [second]);
    assert_eq!(
        windows(&store, 1).await,
        [expired],
        "the poison was not what it was computed from"
    );

    // One good reading, and there is a window again.
    let mut good = rows(&[(0, 30, 5.0)]);
    good.recompute.push(span(0, 0));
    commit(&store, vec![batch(5, good)]).await;
    assert_eq!(
        windows(&store, 0).await,
        [closed(span(0, 0), &[(30, 5.0)]), second]
    );
}

pub async fn an_anomaly_found_again_is_kept_once<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 4).await;
    let anomaly = |series, time, level| Anomaly {
        series: SeriesId(series),
        time: Timestamp(time),
        value: 30.0,
        detector: DetectorKind::Threshold,
        level,
        score: 0.75,
        expected: None,
        band: Band {
            low: None,
            high: Some(25.0),
        },
        explanation: "30 is above 25 °C".into(),
    };
    let mut outcome = SliceOutcome::default();
    outcome
        .anomalies
        .extend([anomaly(0, 5, Level::Warning), anomaly(2, 7, Level::Warning)]);
    commit(&store, vec![batch(2, outcome.clone())]).await;
    outcome.anomalies.push(anomaly(0, 5, Level::Critical));
    commit(&store, vec![batch(3, outcome.clone())]).await;
    let mut page = everything();
    let all = store.anomalies(&[], &page).await.unwrap();
    assert_eq!(
        all,
        [
            anomaly(0, 5, Level::Warning),
            anomaly(0, 5, Level::Critical),
            anomaly(2, 7, Level::Warning)
        ]
    );
    assert_eq!(
        store.anomalies(&[SeriesId(2)], &page).await.unwrap(),
        [anomaly(2, 7, Level::Warning)]
    );
    // What shares a time stays together, so that a page can go on from the next time.
    page.limit = 1;
    assert_eq!(store.anomalies(&[], &page).await.unwrap().len(), 2);
    page.newest_first = true;
    assert_eq!(
        store.anomalies(&[], &page).await.unwrap(),
        [anomaly(2, 7, Level::Warning)]
    );
}
