//! Simulated sensors, with their faults.

use std::iter::Peekable;

use super::Feed;
use crate::domain::{Micros, Timestamp};
use crate::simulate::Simulator;

/// After a longer wait than this the simulated world goes on from now: it does not catch up on hours.
const LONGEST_GAP: Micros = 60_000_000;

pub struct SimulatedFeed {
    simulator: Peekable<Simulator>,
    batch_readings: usize,
}

impl SimulatedFeed {
    pub fn new(simulator: Simulator, batch_readings: usize) -> Self {
        Self {
            simulator: simulator.peekable(),
            batch_readings: batch_readings.max(1),
        }
    }
}

impl Feed for SimulatedFeed {
    fn poll(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let horizon = now.saturating_sub(LONGEST_GAP);
        while self.simulator.next_if(|reading| reading.due < horizon).is_some() {}
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        let mut readings = 0;
        while let Some(reading) = self.simulator.next_if(|reading| reading.due <= now) {
            if readings % self.batch_readings == 0 {
                payloads.push(Vec::new());
            }
            readings += 1;
            if let Some(payload) = payloads.last_mut() {
                payload.push(if payload.is_empty() { b'[' } else { b',' });
                reading.encode(false, payload);
            }
        }
        for payload in &mut payloads {
            payload.push(b']');
        }
        payloads
    }
}
