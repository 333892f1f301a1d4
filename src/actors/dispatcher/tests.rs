//! One order, and the clocks that go with it.

use futures_util::FutureExt;

use super::super::fixture::{self, Station, cargo, reading};
use super::*;
use crate::actors::batch::Delivery;
use crate::clock::ManualClock;
use crate::domain::Timestamp;

const START: Timestamp = Timestamp(1_000_000_000);
const FIRST: BatchNumber = BatchNumber(5);

#[derive(Debug, PartialEq)]
enum Came {
    /// Ordinal, number, and value and index of each reading.
    Slice(u64, u64, Vec<(f64, u32)>),
    Work(u64, &'static str),
    Rewind(u64, Option<BatchNumber>),
}

type Log = Arc<Mutex<Vec<Came>>>;

struct Queue(Log);

impl ShardQueue<&'static str> for Queue {
    fn slice(&self, guard: SliceGuard, readings: Vec<Incoming>) {
        let readings = readings.iter().map(|incoming| &incoming.reading);
        let readings = readings.map(|reading| (reading.value, reading.index)).collect();
        let train = guard.train();
        let came = Came::Slice(train.ordinal, train.number.0, readings);
        self.0.lock().push(came);
        guard.answer(SliceOutcome::default());
    }

    fn work(&self, guard: SliceGuard, work: &'static str) {
        self.0.lock().push(Came::Work(guard.train().ordinal, work));
        guard.answer(SliceOutcome::default());
    }

    fn rewind(&self, rewind: Rewind) {
        self.0.lock().push(Came::Rewind(rewind.epoch, rewind.committed));
    }
}

struct Yard {
    dispatcher: Dispatcher<&'static str>,
    clock: Arc<ManualClock>,
    station: Arc<Station>,
    logs: Vec<Log>,
}

impl Yard {
    fn new(shards: u16) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let internal = SourceName::parse("internal").unwrap();
        let registry = fixture::registry(shards);
        let dispatcher = Dispatcher::new(registry, clock.clone(), FIRST, ActiveTime(50), internal);
        let station = Arc::new(Station::default());
        let logs: Vec<Log> = (0..shards).map(|_| Log::default()).collect();
        let queues = logs
            .iter()
            .map(|log| Box::new(Queue(log.clone())) as Box<dyn ShardQueue<_>>);
        dispatcher.connect(station.clone(), queues.collect());
        Self {
            dispatcher,
            clock,
            station,
            logs,
        }
    }

    fn dispatch(&self, readings: &[(u16, f64)]) {
        let incoming = readings.iter().map(|(shard, value)| Incoming {
            sensor: SensorKey(1),
            shard: *shard,
            fresh: false,
            reading: Reading {
                value: *value,
                ..reading(99)
            },
        });
        self.dispatcher
            .dispatch(incoming.collect(), cargo(0, Acknowledgement::nobody()));
    }

    fn came(&self, shard: usize) -> Vec<Came> {
        std::mem::take(&mut self.logs[shard].lock())
    }

    /// Lets `left` numbers be left in the block.
    fn leave(&self, left: u64) {
        let mut order = self.dispatcher.order.lock();
        order.block.start = order.block.end - left;
    }

    /// Moves the clock and says how far the active one went.
    fn tick_after(&self, micros: Micros) -> Micros {
        let before = self.dispatcher.tick().active;
        self.clock.advance(micros);
        self.dispatcher.tick().active - before
    }
}

#[test]
fn a_batch_is_cut_by_shard_and_counted_through() {
    let yard = Yard::new(3);
    yard.dispatch(&[(2, 0.0), (0, 1.0), (2, 2.0)]);
    yard.dispatch(&[(2, 3.0), (2, 4.0)]);
    yard.dispatch(&[]);
    assert_eq!(yard.came(0), [Came::Slice(0, 5, vec![(1.0, 1)])]);
    assert_eq!(yard.came(1), []);
    assert_eq!(
        yard.came(2),
        [
            Came::Slice(0, 5, vec![(0.0, 0), (2.0, 2)]),
            Came::Slice(1, 6, vec![(3.0, 0), (4.0, 1)]),
        ]
    );
    assert_eq!(
        yard.station.take().len(),
        3,
        "one without readings arrives as well"
    );
    assert_eq!(yard.dispatcher.dispatched(), (1, 3));
}

#[test]
fn readings_for_one_shard_are_handed_on_without_a_copy() {
    let yard = Yard::new(2);
    let incoming = |index| Incoming {
        sensor: SensorKey(1),
        shard: 1,
        fresh: false,
        reading: reading(index),
    };
    let readings: Vec<_> = (0..3).map(incoming).collect();
    let place = readings.as_ptr();
    let slices = yard.dispatcher.split(readings);
    let [(1, slice)] = slices.as_slice() else {
        panic!("{slices:?}")
    };
    assert_eq!((slice.as_ptr(), slice.len()), (place, 3));
}

#[test]
fn a_rewind_begins_an_epoch_in_every_queue() {
    let yard = Yard::new(2);
    yard.dispatch(&[(0, 0.0)]);
    assert!(yard.dispatcher.dispatch_work_in(1, 0, "before"));
    assert_eq!(
        yard.dispatcher.rewind(Some(BatchNumber(4)), Condemned::default()),
        2
    );
    assert_eq!(yard.dispatcher.dispatched(), (2, 0));
    assert!(!yard.dispatcher.dispatch_work_in(1, 0, "too late"));
    assert!(yard.dispatcher.dispatch_work_in(2, 1, "after"));
    yard.dispatcher.dispatch_work(0, "later");
    let rewind = || Came::Rewind(2, Some(BatchNumber(4)));
    let first = Came::Slice(0, 5, vec![(0.0, 0)]);
    assert_eq!(
        yard.came(0),
        [first, Came::Work(1, "before"), rewind(), Came::Work(1, "later")]
    );
    assert_eq!(yard.came(1), [rewind(), Came::Work(0, "after")]);
    assert_eq!(yard.dispatcher.dispatched(), (2, 2));
}

#[test]
fn who_has_lost_something_breaks_the_epoch() {
    let yard = Yard::new(1);
    yard.dispatcher.report_broken(1);
    assert_eq!(yard.station.broken(), [(1, u64::MAX)]);
}

#[test]
fn numbers_are_asked_for_when_half_a_block_is_left_and_go_on_in_the_next() {
    let yard = Yard::new(1);
    let low = || yard.dispatcher.numbers_low().now_or_never().is_some();
    yard.leave(NUMBER_BLOCK / 2 + 1);
    yard.dispatcher.dispatch_work(0, "not yet");
    assert!(!low());
    yard.dispatcher.dispatch_work(0, "now");
    assert!(low());
    yard.dispatcher.add_numbers(BatchNumber(1 << 30));
    yard.leave(1);
    yard.dispatch(&[(0, 0.0)]);
    assert!(!low(), "there is a block to go on with");
    yard.came(0);
    yard.dispatch(&[(0, 1.0)]);
    yard.dispatch(&[(0, 2.0)]);
    let next = 1 << 30;
    assert_eq!(
        yard.came(0),
        [
            Came::Slice(3, next, vec![(1.0, 0)]),
            Came::Slice(4, next + 1, vec![(2.0, 0)])
        ]
    );
    assert_eq!(yard.dispatcher.order.lock().block.end, next + NUMBER_BLOCK);
}

#[test]
fn the_first_block_is_whole() {
    let yard = Yard::new(1);
    assert_eq!(
        yard.dispatcher.order.lock().block,
        FIRST.0..FIRST.0 + NUMBER_BLOCK
    );
}

#[test]
fn without_numbers_nothing_is_sent_off() {
    let yard = Yard::new(1);
    yard.leave(0);
    let (acknowledgement, mut delivery) = Acknowledgement::new();
    yard.dispatcher.dispatch(Vec::new(), cargo(0, acknowledgement));
    assert!(matches!(delivery.try_recv(), Ok(Delivery::Undelivered)));
    assert!(!yard.dispatcher.dispatch_work_in(1, 0, "in vain"));
    assert_eq!((yard.came(0), yard.dispatcher.dispatched()), (vec![], (1, 0)));
}

#[test]
fn the_active_clock_goes_with_the_wall_clock_while_we_run() {
    let yard = Yard::new(1);
    let at = yard.dispatcher.tick();
    assert_eq!((at.now, at.active), (START, ActiveTime(50)));
    assert_eq!(yard.tick_after(250_000), 250_000);
    assert_eq!(yard.tick_after(LONGEST_TICK), LONGEST_TICK);
    assert_eq!(yard.tick_after(LONGEST_TICK + 1), LONGEST_TICK, "we did not run");
    yard.dispatcher.set_held(true);
    assert!(yard.dispatcher.held());
    assert_eq!(yard.tick_after(250_000), 0, "we did not listen");
    yard.dispatcher.set_held(false);
    assert_eq!(yard.tick_after(10), 10);
}

#[test]
fn the_active_clock_stands_still_while_a_source_hears_nothing_and_not_for_ever() {
    let yard = Yard::new(1);
    let [one, other] = ["one", "other"].map(|name| SourceName::parse(name).unwrap());
    yard.tick_after(10);
    yard.clock.advance(5);
    yard.dispatcher.set_deaf(&one, true);
    assert_eq!(yard.tick_after(0), 0, "until then it was heard");
    assert_eq!(yard.tick_after(LONGEST_TICK), 0);
    yard.dispatcher.set_deaf(&other, true);
    yard.dispatcher.set_deaf(&one, false);
    assert_eq!(yard.tick_after(LONGEST_TICK), 0);
    yard.dispatcher.set_deaf(&other, false);
    assert_eq!(yard.tick_after(7), 7);

    // One whose broker never comes back does not keep the others from being missed.
    yard.dispatcher.set_deaf(&one, true);
    for _ in 0..LONGEST_DEAF / LONGEST_TICK {
        assert_eq!(yard.tick_after(LONGEST_TICK), 0);
        yard.dispatcher.set_deaf(&one, true);
    }
    assert_eq!(yard.tick_after(7), 7);
    yard.dispatcher.set_deaf(&other, true);
    assert_eq!(yard.tick_after(7), 0);
    yard.dispatcher.set_deaf(&other, false);
    yard.dispatcher.set_deaf(&one, false);
    yard.dispatcher.set_deaf(&one, true);
    assert_eq!(yard.tick_after(7), 0, "it was there meanwhile");
}

#[test]
fn set_back_the_wall_clock_holds_the_time_of_batches_and_not_the_active_clock() {
    let yard = Yard::new(1);
    let at = yard.dispatcher.tick();
    assert_eq!(yard.tick_after(-3_600_000_000), 0);
    assert_eq!(yard.dispatcher.tick().now, at.now);
    assert_eq!(yard.tick_after(250_000), 250_000);
    assert_eq!(yard.dispatcher.tick().now, at.now);
    yard.clock.advance(3_600_000_000);
    assert_eq!(yard.dispatcher.tick().now, at.now.saturating_add(250_000));
}
