//! What becomes of a batch that the database refuses though it is alone in its transaction.
//!
//! What each sensor made of it is rehearsed without the others. Sensors whose part is refused are *condemned*: the batch is
//! committed without anything of theirs but the ledger and a dead letter for each reading, which says what the database said.
//!
//! Invariants:
//! - The batch keeps its number, its positions and all that the other sensors made of it.
//! - Every reading of a condemned sensor is counted as received and rejected, on the source where the sensor's own row would
//!   be stored with this batch.
//! - A condemned sensor has seen what is not stored: whoever commits such a batch rewinds the pipeline.
//!
//! How it fails: where the refusal is the fault of no single sensor the batch is given up, as [`GiveUp::Refused`].

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::retry::{self, GiveUp};
use crate::actors::dispatcher::Condemned;
use crate::actors::registry::Registry;
use crate::domain::{DeadLetter, LedgerDelta, RejectReason, SensorKey, SeriesId};
use crate::metrics::Metrics;
use crate::storage::{CommitGroup, CommitReport, CompleteBatch, Refused, Store, StoreError};

/// A group as it was committed.
pub struct Committed {
    pub group: Arc<CommitGroup>,
    pub report: CommitReport,
    /// Empty unless the group is of one batch.
    pub condemned: Condemned,
}

/// Commits `group`; if it is of one batch and refused, without what the sensors made of it that are at fault.
pub async fn commit(
    store: Arc<dyn Store>,
    group: Arc<CommitGroup>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
) -> Result<Committed, GiveUp> {
    let commit = |group| retry::commit(store.clone(), group, metrics.clone());
    let refused = match commit(group.clone()).await {
        Ok(report) => {
            return Ok(Committed {
                group,
                report,
                condemned: Condemned::default(),
            });
        }
        Err(refused) => refused,
    };
    let (GiveUp::Refused(_), [batch]) = (&refused, group.batches.as_slice()) else {
        return Err(refused);
    };
    let condemned = guilty(store.as_ref(), &group, batch, &registry, &metrics).await?;
    let group = Arc::new(CommitGroup {
        instance: group.instance.clone(),
        batches: vec![without(batch, &condemned, &registry)],
    });
    let report = commit(group.clone()).await?;
    Ok(Committed {
        group,
        report,
        condemned,
    })
}

/// The sensors whose part alone is refused, found by halves.
async fn guilty(
    store: &dyn Store,
    group: &CommitGroup,
    batch: &CompleteBatch,
    registry: &Registry,
    metrics: &Metrics,
) -> Result<Condemned, GiveUp> {
    let mut guilty = Condemned::default();
    let all = sensors(batch, registry);
    let mut suspects = vec![all.as_slice()];
    while let Some(some) = suspects.pop() {
        let alone = CommitGroup {
            instance: group.instance.clone(),
            batches: vec![only(batch, some, registry)],
        };
        let Err(refused) = retry::rehearse(store, &alone, metrics).await? else {
            continue;
        };
        match some {
            [] => {}
            [one] => drop(guilty.insert(*one, words(&refused))),
            several => {
                let (left, right) = several.split_at(several.len() / 2);
                suspects.extend([left, right]);
            }
        }
    }
    Ok(guilty)
}

/// What the database said, without what was being done.
fn words(refused: &StoreError) -> String {
    let cause = refused
        .source()
        .map_or_else(|| refused.to_string(), ToString::to_string);
    format!("the database refuses it: {cause}")
}

/// Every sensor that `batch` would store something of.
fn sensors(batch: &CompleteBatch, registry: &Registry) -> Vec<SensorKey> {
    let mut found: BTreeSet<SensorKey> = batch.sensors.iter().map(|sensor| sensor.key).collect();
    found.extend(batch.series.iter().map(|series| series.sensor));
    for outcome in &batch.outcomes {
        found.extend(outcome.rows.iter().map(|row| row.sensor));
        found.extend(outcome.snapshots.iter().map(|snapshot| snapshot.sensor));
        found.extend(outcome.ledger.iter().map(|(sensor, _)| *sensor));
        found.extend(outcome.dead_letters.iter().filter_map(|letter| letter.sensor));
        let series = outcome.windows.iter().map(|window| window.span.series);
        let series = series
            .chain(outcome.recompute.iter().map(|span| span.series))
            .chain(outcome.revise.iter().map(|span| span.series))
            .chain(outcome.anomalies.iter().map(|anomaly| anomaly.series))
            .chain(outcome.alerts.iter().map(|event| event.series))
            .chain(outcome.poison.iter().map(|(series, _)| *series));
        found.extend(series.filter_map(|series| registry.sensor_of(series)));
    }
    found.into_iter().collect()
}

/// The part of `some` sensors, without what belongs to the batch as a whole.
fn only(batch: &CompleteBatch, some: &[SensorKey], registry: &Registry) -> CompleteBatch {
    let some: FxHashSet<SensorKey> = some.iter().copied().collect();
    let mut part = CompleteBatch {
        positions: Vec::new(),
        arrivals: Vec::new(),
        source_ledger: LedgerDelta::default(),
        dead_letters: Vec::new(),
        ..batch.clone()
    };
    retain(&mut part, registry, |sensor| some.contains(&sensor));
    for outcome in &mut part.outcomes {
        outcome.ledger.retain(|(sensor, _)| some.contains(sensor));
        let ours = |letter: &DeadLetter| letter.sensor.is_some_and(|sensor| some.contains(&sensor));
        outcome.dead_letters.retain(ours);
    }
    part
}

/// The batch with dead letters in place of what the condemned sensors made of it.
fn without(batch: &CompleteBatch, condemned: &Condemned, registry: &Registry) -> CompleteBatch {
    let mut left = batch.clone();
    for outcome in &mut left.outcomes {
        // What a replay found is found again by the next one; what was decided about a reading of this batch is final.
        let heard: FxHashSet<SensorKey> = outcome.ledger.iter().map(|(sensor, _)| *sensor).collect();
        let stays = |sensor: SensorKey| !condemned.contains_key(&sensor) || heard.contains(&sensor);
        outcome
            .dead_letters
            .retain(|letter| letter.sensor.is_none_or(stays));

        let mut rejected: FxHashMap<SensorKey, u64> = FxHashMap::default();
        for row in &outcome.rows {
            let Some(words) = condemned.get(&row.sensor) else {
                continue;
            };
            *rejected.entry(row.sensor).or_default() += 1;
            let name = registry.name(row.reading.series);
            outcome.dead_letters.push(DeadLetter {
                source: batch.source.clone(),
                position: String::new(),
                key: None,
                sensor: Some(row.sensor),
                payload: name.map_or_else(Vec::new, |name| name.canonical(&row.reading)),
                reason: RejectReason::Refused,
                detail: words.clone(),
            });
            outcome.refused.push(Refused {
                index: row.reading.index,
                reason: RejectReason::Refused,
                detail: words.clone(),
            });
        }
        outcome
            .ledger
            .extend(rejected.into_iter().map(|(sensor, rejected)| {
                let delta = LedgerDelta {
                    rejected,
                    ..LedgerDelta::default()
                };
                (sensor, delta)
            }));
    }
    retain(&mut left, registry, |sensor| !condemned.contains_key(&sensor));
    count_on_source(&mut left, |sensor| {
        condemned.contains_key(&sensor) && !registry.is_saved(sensor)
    });
    left
}

/// A sensor whose row is not stored has no ledger and no dead letters of its own.
fn count_on_source(batch: &mut CompleteBatch, unknown: impl Fn(SensorKey) -> bool) {
    for outcome in &mut batch.outcomes {
        let (source, sensors): (Vec<_>, Vec<_>) =
            outcome.ledger.drain(..).partition(|(sensor, _)| unknown(*sensor));
        outcome.ledger = sensors;
        for (_, delta) in source {
            batch.source_ledger += delta;
        }
    }
    let of_sensors = batch
        .outcomes
        .iter_mut()
        .flat_map(|outcome| &mut outcome.dead_letters);
    for letter in batch.dead_letters.iter_mut().chain(of_sensors) {
        letter.sensor = letter.sensor.filter(|sensor| !unknown(*sensor));
    }
}

/// Drops definitions, readings and what readings led to, but for those of some sensors.
fn retain(batch: &mut CompleteBatch, registry: &Registry, keep: impl Fn(SensorKey) -> bool) {
    let keep_series = |series: SeriesId| registry.sensor_of(series).is_none_or(&keep);
    batch.sensors.retain(|sensor| keep(sensor.key));
    batch.series.retain(|series| keep(series.sensor));
    for outcome in &mut batch.outcomes {
        outcome.rows.retain(|row| keep(row.sensor));
        outcome.scattered.retain(|sensor| keep(*sensor));
        outcome.snapshots.retain(|snapshot| keep(snapshot.sensor));
        outcome.windows.retain(|window| keep_series(window.span.series));
        outcome.recompute.retain(|span| keep_series(span.series));
        outcome.revise.retain(|span| keep_series(span.series));
        outcome.anomalies.retain(|anomaly| keep_series(anomaly.series));
        outcome.alerts.retain(|event| keep_series(event.series));
        outcome.poison.retain(|(series, _)| keep_series(*series));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::registry::{HomeId, RegistryLimits};
    use crate::domain::{
        ActiveTime, BatchNumber, BatchTime, Flags, MetricName, Reading, SensorId, SourceName, Tags,
        Timestamp, WindowKind, WindowSpan,
    };
    use crate::storage::{Numbers, Row, SensorDefinition, SeriesDefinition, SliceOutcome, Snapshot};

    /// Sensors 1 and 2, with the series of the same number, are stored; 3 is not.
    fn registry() -> Registry {
        let limits = RegistryLimits {
            sensors: 10,
            series_per_sensor: 10,
        };
        let (sensors, series) = [1, 2].map(definitions).into_iter().unzip();
        let registry = Registry::new(limits, 1, sensors, series);
        let (sensor, series) = definitions(3);
        registry.add_numbers(Numbers {
            sensors: 3..9,
            series: 3..9,
        });
        let resolved = registry
            .resolve(&sensor.id, &series.metric, None, None, HomeId::NONE)
            .unwrap();
        assert_eq!((resolved.sensor, resolved.series), (SensorKey(3), SeriesId(3)));
        registry
    }

    fn definitions(number: u32) -> (SensorDefinition, SeriesDefinition) {
        let sensor = SensorDefinition {
            key: SensorKey(number),
            id: SensorId::parse(&format!("s{number}")).unwrap(),
            tags: Tags::new(),
            home: None,
        };
        let series = SeriesDefinition {
            id: SeriesId(number),
            sensor: SensorKey(number),
            metric: MetricName::parse("m").unwrap(),
            unit: None,
        };
        (sensor, series)
    }

    /// Everything a sensor may make of one reading, and a letter about another one.
    fn outcome(number: u32) -> SliceOutcome {
        let (sensor, series) = (SensorKey(number), SeriesId(number));
        let reading = Reading {
            series,
            time: Timestamp(1_700_000_000_000_000),
            value: 1.5,
            index: number,
            flags: Flags::NONE,
        };
        let delta = LedgerDelta {
            received: 2,
            rejected: 1,
            ..LedgerDelta::default()
        };
        SliceOutcome {
            rows: vec![Row { sensor, reading }],
            recompute: vec![WindowSpan {
                series,
                kind: WindowKind::Tumbling,
                size: 10,
                start: Timestamp(0),
            }],
            snapshots: vec![Snapshot {
                sensor,
                seq: BatchNumber(7).end(),
                state: vec![1],
                deadline: None,
                complete: true,
            }],
            dead_letters: vec![letter(sensor)],
            ledger: vec![(sensor, delta)],
            poison: vec![(series, reading.time)],
            ..SliceOutcome::default()
        }
    }

    fn letter(sensor: SensorKey) -> DeadLetter {
        DeadLetter {
            source: SourceName::parse("test").unwrap(),
            position: String::new(),
            key: None,
            sensor: Some(sensor),
            payload: Vec::new(),
            reason: RejectReason::Conflict,
            detail: String::new(),
        }
    }

    fn batch(outcomes: Vec<SliceOutcome>) -> CompleteBatch {
        let (sensor, series) = definitions(3);
        CompleteBatch {
            number: BatchNumber(7),
            at: BatchTime {
                now: Timestamp(0),
                active: ActiveTime(0),
            },
            source: SourceName::parse("test").unwrap(),
            sensors: vec![sensor],
            series: vec![series],
            positions: Vec::new(),
            arrivals: Vec::new(),
            source_ledger: LedgerDelta::default(),
            dead_letters: vec![letter(SensorKey(3))],
            outcomes,
        }
    }

    fn condemned(number: u32) -> Condemned {
        [(SensorKey(number), "no".to_owned())].into_iter().collect()
    }

    fn rows(batch: &CompleteBatch) -> Vec<u32> {
        let rows = batch.outcomes.iter().flat_map(|outcome| &outcome.rows);
        rows.map(|row| row.sensor.0).collect()
    }

    #[test]
    fn a_condemned_sensor_leaves_its_ledger_and_letters() {
        let registry = registry();
        let whole = batch(vec![outcome(1), outcome(2)]);
        let keys = |numbers: &[u32]| numbers.iter().copied().map(SensorKey).collect::<Vec<_>>();
        assert_eq!(sensors(&whole, &registry), keys(&[1, 2, 3]));
        let left = without(&whole, &condemned(1), &registry);
        assert_eq!((rows(&left), left.sensors.len()), (vec![2], 1));
        assert_eq!(left.outcomes[1], whole.outcomes[1]);
        let outcome = &left.outcomes[0];
        assert!(outcome.recompute.is_empty() && outcome.snapshots.is_empty() && outcome.poison.is_empty());
        let mut sum = LedgerDelta::default();
        for (sensor, delta) in &outcome.ledger {
            assert_eq!(*sensor, SensorKey(1));
            sum += *delta;
        }
        assert!(sum.balances() && sum.rejected == 2, "{sum:?}");
        let [first, refused] = outcome.dead_letters.as_slice() else {
            panic!("{:?}", outcome.dead_letters);
        };
        assert_eq!(
            (first.reason, refused.reason),
            (RejectReason::Conflict, RejectReason::Refused)
        );
        assert_eq!(
            (refused.sensor, refused.detail.as_str()),
            (Some(SensorKey(1)), "no")
        );
        let payload: serde_json::Value = serde_json::from_slice(&refused.payload).unwrap();
        assert_eq!(
            (&payload["sensor_id"], &payload["value"]),
            (&"s1".into(), &1.5.into())
        );
        assert_eq!((outcome.refused.len(), outcome.refused[0].index), (1, 1));
    }

    #[test]
    fn a_sensor_that_is_not_stored_is_counted_on_the_source() {
        let registry = registry();
        let left = without(&batch(vec![outcome(2), outcome(3)]), &condemned(3), &registry);
        assert_eq!(
            (rows(&left), left.sensors.len(), left.series.len()),
            (vec![2], 0, 0)
        );
        assert!(left.outcomes[1].ledger.is_empty());
        let source = left.source_ledger;
        assert!(source.balances() && source.received == 2, "{source:?}");
        let letters = left.outcomes[1].dead_letters.iter().chain(&left.dead_letters);
        assert!(letters.clone().all(|letter| letter.sensor.is_none()));
        assert_eq!(letters.count(), 3);
    }

    #[test]
    fn what_a_replay_found_is_found_again() {
        let found = SliceOutcome {
            rows: Vec::new(),
            ledger: Vec::new(),
            ..outcome(1)
        };
        let left = without(&batch(vec![found]), &condemned(1), &registry());
        assert_eq!(left.outcomes[0], SliceOutcome::default());
        assert!(left.source_ledger.is_zero());
    }

    #[test]
    fn a_part_is_what_some_sensors_made_alone() {
        let registry = registry();
        let whole = batch(vec![outcome(1), outcome(3)]);
        let part = only(&whole, &[SensorKey(1)], &registry);
        assert_eq!(part.outcomes, [outcome(1), SliceOutcome::default()]);
        assert!(part.sensors.is_empty() && part.dead_letters.is_empty());
        let part = only(&whole, &[SensorKey(3)], &registry);
        assert_eq!(part.outcomes, [SliceOutcome::default(), outcome(3)]);
        assert_eq!((part.sensors.len(), part.series.len()), (1, 1));
    }
}
