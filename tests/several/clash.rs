//! Messages that are not keyed by sensor: two instances make the same sensor at the same time.

use sensorhive::domain::Home;

use super::world::{Instance, Topic, all_stored, until, with_postgres};

const SENSORS: usize = 40;

#[test]
fn the_same_sensor_through_two_partitions_is_one_sensor() {
    with_postgres(async |database| {
        let topic = Topic::new();
        let [a, b] = [
            Instance::start(&database, "a", &topic, 3_600_000_000).await,
            Instance::start(&database, "b", &topic, 3_600_000_000).await,
        ];
        let readers = [a.take(0).await, b.take(1).await];
        // New sensors again and again, each through both, with other times, and a second one after that.
        for sensor in 0..SENSORS {
            for index in 0..4 {
                topic.send_to(index % 2, &format!("x{sensor}"), index as i64);
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        all_stored(&a).await;
        let stored = until("all is processed", async || {
            let stored = a.stored().await;
            stored
                .values()
                .all(|stored| stored.unprocessed == 0)
                .then_some(stored)
        })
        .await;
        assert_eq!(stored.len(), SENSORS);
        for (sensor, stored) in stored {
            assert_eq!(stored.readings.len(), 4, "{sensor}");
            assert_eq!(stored.home, Some(Home::several()), "{sensor}");
        }
        let letters = a.pipeline.store.dead_letters(None, 10).await.unwrap();
        assert!(letters.is_empty(), "{letters:?}");
        let rewinds = a.pipeline.metrics.rewinds() + b.pipeline.metrics.rewinds();
        assert!(rewinds > 0, "they never met");
        for reader in readers {
            reader.stop().await;
        }
        a.end().await;
        b.end().await;
    });
}
