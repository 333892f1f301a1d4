//! What becomes of data that the database refuses for good.

use sensorhive::actors::batch::{Delivery, Receipt};
use sensorhive::actors::ingest::Payload;
use sensorhive::actors::shard::env::Mode;
use sensorhive::actors::shard::messages::Command;
use sensorhive::domain::{LedgerDelta, RejectReason, SensorKey};

use super::bench::{Bench, stored};
use super::world::REFUSED;

/// Makes the database refuse readings with the value [`REFUSED`].
pub const READINGS: &str = "CREATE TRIGGER refuse_readings BEFORE INSERT ON readings WHEN new.value = 777.0
     BEGIN SELECT raise(ABORT, 'nobody likes 777'); END";

/// Makes the database refuse a snapshot of each sensor in one of 19 batches.
pub const SNAPSHOTS: &str = "CREATE TRIGGER refuse_snapshots BEFORE INSERT ON sensor_snapshots
     WHEN ((new.seq >> 20) * 7 + new.sensor_id) % 19 = 0
     BEGIN SELECT raise(ABORT, 'not this one'); END";

/// Makes the database refuse every snapshot of the first sensor.
const SNAPSHOTS_OF_ONE: &str = "CREATE TRIGGER refuse_snapshots BEFORE INSERT ON sensor_snapshots
     WHEN new.sensor_id = 1 BEGIN SELECT raise(ABORT, 'not of this one'); END";

fn item(sensor: &str, value: f64, time: i64) -> String {
    format!(r#"{{"sensor_id":"{sensor}","metric":"m","value":{value},"timestamp":{time}}}"#)
}

async fn send(bench: &Bench, items: &[String]) -> Receipt {
    let intake = bench.service.intake(0);
    let payload = format!("[{}]", items.join(","));
    let batch = intake.decode(Payload::plain(payload.as_bytes(), intake.now()));
    match intake.deliver(batch, payload.len(), Vec::new()).await.unwrap() {
        Delivery::Stored(receipt) => receipt,
        Delivery::Undelivered => panic!("it can be stored"),
    }
}

async fn ledger(bench: &Bench, key: SensorKey) -> LedgerDelta {
    let pipeline = bench.service.pipeline();
    pipeline.settle().await;
    pipeline.store.sensor_ledger(key).await.unwrap().ledger
}

#[test]
fn a_reading_that_the_database_refuses_is_a_dead_letter_and_harms_only_its_sensor() {
    actix::System::new().block_on(async {
        let mut bench = Bench::new(false, true).await;
        bench.service.sql(READINGS).await;
        let time = bench.time;
        let receipt = send(
            &bench,
            &[
                item("s0", 2.0, time + 1_000),
                item("s1", 3.0, time),
                item("s0", REFUSED, time + 2_000),
                item("s2", REFUSED, time),
            ],
        )
        .await;
        let told: Vec<u32> = receipt.refused.iter().map(|refused| refused.index).collect();
        assert_eq!((receipt.stored, receipt.refused.len()), (1, 3), "{receipt:?}");
        assert!(told.iter().all(|index| [0, 2, 3].contains(index)), "{told:?}");
        for refused in &receipt.refused {
            assert_eq!(refused.reason, RejectReason::Refused);
            assert!(refused.detail.contains("nobody likes 777"), "{}", refused.detail);
        }

        // The same sensor goes on, from what is stored.
        bench.time += 3_000;
        bench.send(4.0).await;
        bench.comes_to(Mode::Running).await;
        let first = ledger(&bench, bench.key).await;
        assert!(first.balances(), "{first:?}");
        assert_eq!((first.stored, first.rejected, first.unprocessed), (2, 2, 0));
        let rows = bench.restarts().await;
        assert!(
            rows.iter()
                .any(|row| row.reason == "refused" && row.detail.contains("nobody likes 777")),
            "{rows:?}"
        );

        // A sensor without a row of its own is counted on the source.
        let pipeline = bench.service.pipeline();
        let sources = pipeline.store.source_ledgers().await.unwrap();
        assert_eq!(
            (sources[0].1.received, sources[0].1.rejected),
            (1, 1),
            "{sources:?}"
        );
        let letters = pipeline.store.dead_letters(None, 10).await.unwrap();
        let refused: Vec<_> = letters
            .iter()
            .filter(|letter| letter.letter.reason == RejectReason::Refused)
            .collect();
        assert_eq!(refused.len(), 3, "{letters:?}");
        let nobody: Vec<_> = refused
            .iter()
            .filter(|letter| letter.letter.sensor.is_none())
            .collect();
        let payload: serde_json::Value = serde_json::from_slice(&nobody[0].letter.payload).unwrap();
        assert_eq!((nobody.len(), &payload["sensor_id"]), (1, &"s2".into()));
        assert_eq!(pipeline.metrics.rewinds(), 1);

        // Once the database takes it, it is a sensor like any other.
        let receipt = send(&bench, &[item("s2", 1.0, time)]).await;
        assert_eq!((receipt.stored, receipt.refused.len()), (1, 0));
        drop(pipeline);
        bench.service.end().await;
    });
}

#[test]
fn a_sensor_whose_state_is_refused_ends_in_quarantine_and_its_readings_are_stored() {
    actix::System::new().block_on(async {
        let mut bench = Bench::new(false, true).await;
        bench.service.sql(SNAPSHOTS_OF_ONE).await;
        // It comes back with a snapshot.
        bench.command(Command::Restart).await;
        bench.comes_to(Mode::Quarantined).await;
        bench.send(2.0).await;
        let time = bench.time;
        stored(bench.service.intake(1), item("s1", 1.0, time)).await;
        bench.settle().await;
        let first = ledger(&bench, bench.key).await;
        assert_eq!((first.stored, first.rejected, first.unprocessed), (2, 0, 1));
        let rewinds = bench.service.rewinds();
        bench.send(3.0).await;
        assert_eq!(bench.service.rewinds(), rewinds, "nobody is disturbed any more");

        bench.service.sql("DROP TRIGGER refuse_snapshots").await;
        bench.command(Command::Resume).await;
        bench.works().await;
        bench.service.end().await;
    });
}
