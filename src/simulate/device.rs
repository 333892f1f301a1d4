//! One simulated thermometer: a slow daily wave around 20 °C, a little noise, spikes, and the faults it was given.
//!
//! Invariants: without a fault and without a spike the value is within 20 ± 2 °C. Faults that last (drift, stuck, silence)
//! come in episodes, one at a time, planned from the device's own times.

use std::f64::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::fault::{Fault, Faults};
use crate::domain::{Micros, Timestamp};

const SECOND: Micros = 1_000_000;
const DAY: f64 = 86_400e6;
const YEAR: Micros = 365 * 86_400 * SECOND;

const BASE: f64 = 20.0;
/// Wave and noise together reach 2 °C.
const WAVE: f64 = 1.7;
/// Three of these are added up, which is close to a normal distribution with a standard deviation of 0.1 °C.
const NOISE: f64 = 0.1;
const SPIKE: f64 = 15.0;
const DRIFT_PER_SECOND: f64 = 0.1;
/// How likely a reading of a device with the fault is to suffer from it.
const NAN_PROBABILITY: f64 = 0.05;
const FAR_FUTURE_PROBABILITY: f64 = 0.05;

/// What a device measured, before anything goes wrong on the way.
pub(super) struct Measured {
    pub time: Timestamp,
    pub value: f64,
    pub labels: Faults,
}

pub(super) struct Device {
    /// Where in its day the device is, in turns.
    phase: f64,
    pub faults: Faults,
    last: f64,
    /// Planned or under way; `None` until the first reading, and for ever without such a fault.
    episode: Option<Episode>,
}

#[derive(Clone, Copy)]
struct Episode {
    fault: Fault,
    from: Timestamp,
    to: Timestamp,
}

impl Device {
    pub fn new(faults: Faults, rng: &mut ChaCha8Rng) -> Self {
        Device {
            phase: rng.random(),
            faults,
            last: BASE,
            episode: None,
        }
    }

    /// What the device sends at `now`; nothing while it is silent.
    pub fn measure(&mut self, now: Timestamp, spikes: f64, rng: &mut ChaCha8Rng) -> Option<Measured> {
        let mut labels = Faults::NONE;
        let mut value = self.healthy(now, rng);
        if rng.random_bool(spikes) {
            value += if rng.random() { SPIKE } else { -SPIKE };
            labels = labels.with(Fault::Spike);
        }
        let (ended, episode) = self.episode_at(now, rng);
        if ended == Some(Fault::Silence) {
            labels = labels.with(Fault::Silence);
        }
        match episode.map(|episode| (episode.fault, episode.from)) {
            Some((Fault::Silence, _)) => return None,
            Some((Fault::Stuck, _)) => (value, labels) = (self.last, Faults::NONE.with(Fault::Stuck)),
            Some((Fault::Drift, from)) => {
                value += DRIFT_PER_SECOND * now.since(from) as f64 / SECOND as f64;
                labels = labels.with(Fault::Drift);
            }
            _ => {}
        }
        value = (value * 100.0).round() / 100.0;
        self.last = value;
        let mut time = now;
        if self.faults.has(Fault::Nan) && rng.random_bool(NAN_PROBABILITY) {
            value = f64::NAN;
            labels = labels.with(Fault::Nan);
        }
        if self.faults.has(Fault::FarFuture) && rng.random_bool(FAR_FUTURE_PROBABILITY) {
            time = now.saturating_add(rng.random_range(YEAR..10 * YEAR));
            labels = labels.with(Fault::FarFuture);
        }
        Some(Measured { time, value, labels })
    }

    fn healthy(&self, now: Timestamp, rng: &mut ChaCha8Rng) -> f64 {
        let turns = now.0 as f64 / DAY + self.phase;
        let noise: f64 = (0..3).map(|_| rng.random_range(-NOISE..=NOISE)).sum();
        BASE + WAVE * (TAU * turns).sin() + noise
    }

    /// The fault that has just ended, and the episode that `now` is in.
    fn episode_at(&mut self, now: Timestamp, rng: &mut ChaCha8Rng) -> (Option<Fault>, Option<Episode>) {
        let mut ended = None;
        let current = match self.episode {
            Some(episode) if now < episode.to => episode,
            past => {
                ended = past.map(|episode| episode.fault);
                match self.plan(now, past.is_none(), rng) {
                    Some(next) => *self.episode.insert(next),
                    None => return (None, None),
                }
            }
        };
        (ended, (current.from <= now).then_some(current))
    }

    /// Soon at first, so that whoever starts a demonstration sees something.
    fn plan(&self, now: Timestamp, first: bool, rng: &mut ChaCha8Rng) -> Option<Episode> {
        let count = self.faults.iter().filter(|fault| fault.is_episode()).count();
        if count == 0 {
            return None;
        }
        let chosen = rng.random_range(0..count);
        let fault = self
            .faults
            .iter()
            .filter(|fault| fault.is_episode())
            .nth(chosen)?;
        let pause = if first { 10..60 } else { 60..300 };
        let from = now.saturating_add(rng.random_range(pause) * SECOND);
        let to = from.saturating_add(rng.random_range(30..120) * SECOND);
        Some(Episode { fault, from, to })
    }
}
