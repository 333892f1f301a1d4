//! Partitions that move to and fro.

use std::io::Write;
use std::rc::Rc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sensorhive::actors::storage::neighbors;
use sensorhive::domain::Home;
use sensorhive::startup::pipeline::Pipeline;
use sensorhive::storage::Scope;

use super::world::{
    Instance, PARTITIONS, Reader, Topic, all_stored, database, name, source, until, with_postgres,
};

const SENSORS: usize = 12;
const READINGS: i64 = 400;
/// No series is ever idle.
const NEVER: i64 = 3_600_000_000;

/// In peace: nothing of it is under way, its sensors leave with a snapshot.
async fn hand_over(reader: Reader, to: &Rc<Instance>) -> Reader {
    let (from, partition) = (reader.instance.clone(), reader.partition);
    reader.stop().await;
    from.ownership.revoked(&source(), &[name(partition)]).await;
    to.take(partition).await
}

/// By force: its owner goes on for a while without knowing.
async fn seize(reader: Reader, to: &Rc<Instance>, knows: bool) -> (Reader, u64) {
    let (from, partition) = (reader.instance.clone(), reader.partition);
    let tenures = reader.tenures.clone();
    let new = to.take(partition).await;
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    let undelivered = reader.stop().await;
    if knows {
        from.ownership.lost(&source(), &tenures).await;
    }
    (new, undelivered)
}

/// What one instance makes of the topic, on a database of its own.
async fn alone(topic: &Rc<Topic>) -> std::collections::BTreeMap<String, super::world::Stored> {
    let database = database().await.expect("there was one before");
    let instance = Instance::start(&database, "alone", topic, NEVER).await;
    let mut readers = Vec::new();
    for partition in 0..PARTITIONS {
        readers.push(instance.take(partition).await);
    }
    all_stored(&instance).await;
    for reader in readers {
        reader.stop().await;
    }
    let stored = instance.stored().await;
    instance.end().await;
    stored
}

/// Says where the first difference is: the whole of it is no help.
fn same<T: PartialEq + std::fmt::Debug>(sensor: &str, ours: &[T], theirs: &[T]) {
    for (n, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(ours, theirs, "{sensor}, {n}");
    }
    assert_eq!(ours.len(), theirs.len(), "{sensor}");
}

#[test]
fn what_is_stored_is_what_one_alone_makes_of_it() {
    with_postgres(async |database| {
        let topic = Topic::new();
        let instances = [
            Instance::start(&database, "a", &topic, NEVER).await,
            Instance::start(&database, "b", &topic, NEVER).await,
        ];
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut readers = Vec::new();
        for partition in 0..PARTITIONS {
            readers.push(Some(instances[partition % 2].take(partition).await));
        }
        let send = async {
            for index in 0..READINGS {
                (0..SENSORS).for_each(|sensor| topic.send(sensor, index));
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let mut sending = std::pin::pin!(send);
        let (mut peaceful, mut forced, mut undelivered) = (0, 0, 0);
        loop {
            let at = rng.random_range(0..PARTITIONS);
            let move_one = async {
                let reader = readers[at].take().expect("each is put back");
                let to = &instances[usize::from(Rc::ptr_eq(&reader.instance, &instances[0]))];
                match rng.random_range(0..4) {
                    0 => {
                        forced += 1;
                        let (reader, times) = seize(reader, to, forced % 2 == 0).await;
                        undelivered += times;
                        reader
                    }
                    _ => {
                        peaceful += 1;
                        hand_over(reader, to).await
                    }
                }
            };
            let (moved, sent) = tokio::select! {
                biased;
                () = &mut sending => (None, true),
                reader = move_one => (Some(reader), false),
            };
            if let Some(reader) = moved {
                readers[at] = Some(reader);
            } else if readers[at].is_none() {
                // The move was dropped half-way, as by a source that could not wait.
                readers[at] = Some(instances[at % 2].take(at).await);
            }
            if sent {
                break;
            }
        }
        all_stored(&instances[0]).await;
        for reader in readers.into_iter().flatten() {
            undelivered += reader.stop().await;
        }
        let rewinds: u64 = instances
            .iter()
            .map(|instance| instance.pipeline.metrics.rewinds())
            .sum();
        writeln!(
            std::io::stderr(),
            "several: {peaceful} moves in peace, {forced} by force, {rewinds} rewinds, {undelivered} undelivered"
        )
        .unwrap();
        assert!(peaceful > 10 && forced > 3 && undelivered > 0);

        // Whoever has a sensor has caught up with it.
        let stored = until("all is processed", async || {
            let stored = instances[0].stored().await;
            stored
                .values()
                .all(|stored| stored.unprocessed == 0)
                .then_some(stored)
        })
        .await;
        let expected = alone(&topic).await;
        assert_eq!(stored.len(), SENSORS);
        for (sensor, stored) in &stored {
            let number: usize = sensor[1..].parse().unwrap();
            assert_eq!(
                stored.home,
                Some(Home::partition(&source(), &name(number % PARTITIONS)))
            );
            let (readings, windows, anomalies) = stored.plain();
            let (all, single_windows, single_anomalies) = expected[sensor].plain();
            same(sensor, &readings, &all);
            same(sensor, &windows, &single_windows);
            same(sensor, &anomalies, &single_anomalies);
            assert!(windows.len() > 30 && !anomalies.is_empty(), "{sensor}");
            assert!(
                stored.readings.is_sorted_by_key(|point| point.seq),
                "{sensor}: sequences only grow"
            );
        }
        for instance in instances {
            instance.end().await;
        }
    });
}

/// A sensor that says no more is noticed by whoever has it.
#[test]
fn a_silent_sensor_is_noticed_by_its_new_owner() {
    with_postgres(async |database| {
        let topic = Topic::new();
        let [a, b] = [
            Instance::start(&database, "a", &topic, 300_000).await,
            Instance::start(&database, "b", &topic, 300_000).await,
        ];
        let reader = a.take(0).await;
        topic.send(0, 0);
        all_stored(&a).await;
        reader.stop().await;
        let value = a.pipeline.latest.newest().expect("it was heard").0;
        a.ownership.revoked(&source(), &[name(0)]).await;
        assert_eq!(a.sensors().await, 0, "it has left");
        assert_eq!(
            a.pipeline.latest.newest().map(|(series, _)| series),
            None,
            "{value:?} is not live here any more"
        );
        let home = Scope::Homes(vec![Home::partition(&source(), &name(0))]);
        let store = &a.pipeline.store;
        assert_eq!(store.sensors_behind(&home).await.unwrap(), [], "with a snapshot");
        assert_eq!(store.deadlines(&home).await.unwrap().len(), 1);
        let reader = b.take(0).await;
        until("its window closes", async || {
            let stored = b.stored().await;
            (stored["s0"].windows.len() == 1).then_some(())
        })
        .await;
        // It goes back and speaks again.
        let reader = hand_over(reader, &a).await;
        assert_eq!(b.sensors().await, 0);
        topic.send(0, 50);
        until("the next one closes", async || {
            let stored = a.stored().await;
            (stored["s0"].windows.len() == 2).then_some(())
        })
        .await;
        let stored = &a.stored().await["s0"];
        assert!(stored.windows.iter().all(|window| window.revision == 0));
        reader.stop().await;
        a.end().await;
        b.end().await;
    });
}

/// An owner that is not told finds out by itself, and keeps what is still its own.
#[test]
fn who_was_robbed_forgets_what_is_not_its_own() {
    with_postgres(async |database| {
        let topic = Topic::new();
        let [a, b] = [
            Instance::start(&database, "a", &topic, NEVER).await,
            Instance::start(&database, "b", &topic, NEVER).await,
        ];
        let (kept, robbed) = (a.take(0).await, a.take(1).await);
        for index in 0..20 {
            (0..2).for_each(|sensor| topic.send(sensor, index));
        }
        all_stored(&a).await;
        assert_eq!(a.sensors().await, 2);
        let thief = b.take(1).await;
        for index in 20..40 {
            (0..2).for_each(|sensor| topic.send(sensor, index));
        }
        until("it is undelivered", async || {
            (robbed.undelivered() > 0).then_some(())
        })
        .await;
        robbed.stop().await;
        all_stored(&a).await;
        until("it has forgotten", async || {
            (a.sensors().await == 1).then_some(())
        })
        .await;
        assert_eq!(b.sensors().await, 1);
        kept.stop().await;
        thief.stop().await;
        let stored = a.stored().await;
        assert!(stored.values().all(|stored| stored.readings.len() == 40));
        a.end().await;
        b.end().await;
    });
}

/// A member of the group that hears too late that it has lost a partition takes nothing from the one that has it since.
#[test]
fn what_one_member_has_lost_another_of_the_same_instance_keeps() {
    with_postgres(async |database| {
        let topic = Topic::new();
        let a = Instance::start(&database, "a", &topic, NEVER).await;
        let before = a.take(0).await;
        let old = before.tenures.clone();
        before.stop().await;
        let now = a.take(0).await;
        (0..10).for_each(|index| topic.send(0, index));
        all_stored(&a).await;
        a.ownership.lost(&source(), &old).await;
        assert_eq!(a.sensors().await, 1);
        let ours = a.ownership.tenures(&source());
        assert_eq!(ours, now.tenures);
        a.ownership.lost(&source(), &ours).await;
        assert_eq!(a.sensors().await, 0);
        now.stop().await;
        a.end().await;
    });
}

/// What one has made the others show, as it is stored.
#[test]
fn what_another_instance_has_made_is_known_here_after_a_while() {
    with_postgres(async |database| {
        let topic = Topic::new();
        let [a, b] = [
            Instance::start(&database, "a", &topic, NEVER).await,
            Instance::start(&database, "b", &topic, NEVER).await,
        ];
        let reader = a.take(0).await;
        (0..3).for_each(|index| topic.send(0, index));
        all_stored(&a).await;
        let Pipeline {
            store,
            statistics,
            rails,
            latest,
            ..
        } = &b.pipeline;
        assert_eq!(rails.registry().sensor_named("s0"), None);
        neighbors::learn(store.as_ref(), rails.registry(), statistics)
            .await
            .unwrap();
        let info = rails.registry().sensor_named("s0").expect("it is known now");
        assert!(info.saved && !rails.registry().is_ours(info.key));
        assert_eq!(latest.newest(), None);
        let now = sensorhive::domain::Timestamp(0);
        assert_eq!(statistics.summary(now).total_events, 3);
        assert_eq!(b.sensors().await, 0);
        reader.stop().await;
        a.end().await;
        b.end().await;
    });
}
