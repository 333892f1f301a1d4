//! Partitions that another process has claimed: what is under way of them is undelivered, and everything goes on with what is
//! stored.

use sensorhive::actors::batch::Delivery;
use sensorhive::actors::ingest::Payload;
use sensorhive::domain::SourceName;
use sensorhive::storage::{Position, Store};

use super::bench::Bench;

const PARTITION: &str = "topic/0";

fn position(source: &SourceName, offset: i64, epoch: i64) -> Vec<Position> {
    vec![Position {
        source: source.clone(),
        partition: PARTITION.to_owned(),
        offset,
        epoch: Some(epoch),
    }]
}

#[test]
fn what_has_moved_away_is_undelivered_and_the_pipeline_goes_on() {
    actix::System::new().block_on(async {
        let bench = Bench::new(false, false).await;
        let intake = bench.service.intake(0);
        let store = bench.service.pipeline().store.clone();
        let other = bench.service.open().await;
        let claim = async |store: &dyn Store| {
            let claimed = store
                .claim_positions(intake.source(), &[PARTITION.to_owned()])
                .await;
            claimed.unwrap()[0]
        };
        let send = async |number: i64, epoch: i64| {
            let time = bench.time + number * 1_000;
            let payload = format!(r#"{{"sensor_id":"s0","metric":"m","value":{number},"timestamp":{time}}}"#);
            let batch = intake.decode(Payload::plain(payload.as_bytes(), intake.now()));
            let positions = position(intake.source(), number, epoch);
            intake.deliver(batch, payload.len(), positions).await.unwrap()
        };

        let ours = claim(store.as_ref()).await;
        assert!(matches!(send(1, ours.epoch).await, Delivery::Stored(_)));
        let rewinds = bench.service.rewinds();
        let theirs = claim(&other).await;
        assert_eq!(theirs.offset, Some(1));
        assert!(matches!(send(2, ours.epoch).await, Delivery::Undelivered));
        assert_eq!(bench.service.rewinds(), rewinds + 1);
        assert_eq!(store.position(intake.source(), PARTITION).await.unwrap(), Some(1));

        // It comes back: the reading that was processed and not stored is sent again, and is no duplicate.
        let back = claim(store.as_ref()).await;
        let Delivery::Stored(receipt) = send(2, back.epoch).await else {
            panic!("it is ours again")
        };
        assert_eq!((receipt.stored, receipt.duplicates), (1, 0));
        other.close().await;
        drop(store);
        bench.service.end().await;
    });
}
