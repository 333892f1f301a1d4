//! A hundred thousand supervised actors: what they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use actix::prelude::*;
use sensorhive::actors::supervision::{ActorPath, ActorSpec, Handle, Phase, Supervise, start};
use tokio::sync::oneshot;

const ARBITERS: usize = 2;
const ACTORS: usize = 100_000;

struct Quiet {
    resumed: Arc<AtomicUsize>,
}

impl Actor for Quiet {
    type Context = Context<Self>;
}

impl Supervised for Quiet {}

impl Supervise for Quiet {
    fn resume(&mut self, _: &mut Context<Self>) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Handler<Crash> for Quiet {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("planned panic of one in a hundred thousand");
    }
}

type Started = Vec<(Addr<Quiet>, Arc<Handle>)>;

#[test]
fn a_hundred_thousand_supervised_actors() {
    sensorhive::actors::supervision::install_panic_hook();
    System::new().block_on(async {
        let resumed = Arc::new(AtomicUsize::new(0));
        let arbiters: Vec<Arbiter> = (0..ARBITERS).map(|_| Arbiter::new()).collect();
        let before = resident_bytes();
        let begun = Instant::now();
        let mut receivers = Vec::new();
        for (shard, arbiter) in arbiters.iter().enumerate() {
            let (sender, receiver) = oneshot::channel::<Started>();
            let resumed = resumed.clone();
            arbiter.spawn(async move {
                let parent = ActorPath::new(format!("root/shard-{shard}"));
                let make = |number: usize| {
                    let resumed = resumed.clone();
                    start(ActorSpec::new(parent.child(number)), move |_, _| Quiet { resumed })
                };
                let actors: Started = (0..ACTORS / ARBITERS).map(make).collect();
                let last = actors.len() - 1;
                while actors[last].1.phase() == Phase::Starting {
                    tokio::task::yield_now().await;
                }
                let _ = sender.send(actors);
            });
            receivers.push(receiver);
        }
        let mut actors = Started::new();
        for receiver in receivers {
            actors.extend(receiver.await.unwrap());
        }
        let took = begun.elapsed();
        let bytes = resident_bytes().saturating_sub(before) / ACTORS;
        assert_eq!(resumed.load(Ordering::Relaxed), ACTORS);
        println!(
            "{ACTORS} supervised actors on {ARBITERS} arbiters: started in {took:.2?}, {bytes} bytes each (resident)"
        );
        assert!(bytes < 8 * 1024, "{bytes} bytes an actor");

        let (address, handle) = &actors[ACTORS / 3];
        assert_eq!(address.send(Crash).await, Err(MailboxError::Closed));
        while handle.restarts() == 0 {
            tokio::task::yield_now().await;
        }
        let others = actors.iter().filter(|(_, handle)| handle.crashes() > 0).count();
        assert_eq!(others, 1);

        let handles: Vec<Arc<Handle>> = actors.into_iter().map(|(_, handle)| handle).collect();
        for handle in &handles {
            handle.ended().await;
        }
        for arbiter in arbiters {
            arbiter.stop();
            arbiter.join().unwrap();
        }
    });
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
