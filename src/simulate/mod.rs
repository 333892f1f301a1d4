//! Simulated thermometers: an endless, repeatable stream of readings with labelled faults, for demonstrations and tests.
//!
//! Invariants: pure, no clock; the start is a parameter, and each reading says when it is due. Due times never go back. The
//! same settings, seed and start give the same readings, byte by byte. Every deviation from a healthy device carries its
//! label, which is not sent unless asked for.

mod device;
mod fault;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use device::Device;
pub use fault::{Fault, Faults, UnknownFault};

use crate::decode::{Draft, RawTags, encode_canonical};
use crate::domain::{Micros, Quality, Timestamp};

const METRIC: &str = "temperature";
const UNIT: &str = "C";
/// Each fault is given to one in so many devices, and to at least one.
const DEVICES_PER_FAULT: u32 = 20;
/// How likely a reading of a device with the fault is to suffer from it on its way.
const DUPLICATE_PROBABILITY: f64 = 0.1;
const DISORDER_PROBABILITY: f64 = 0.1;
const LATE_PROBABILITY: f64 = 0.05;
const LATE_BY: std::ops::Range<Micros> = 120_000_000..600_000_000;

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatorSettings {
    /// How many devices, from 1.
    pub sensors: u32,
    /// Readings a second of all devices together; above 0, at most a million for each device.
    pub rate: f64,
    pub seed: u64,
    /// How likely each reading of each device is a spike, 0 to 1.
    pub spike_probability: f64,
    /// Further faults. Each is given to one device in twenty, the others stay healthy.
    pub faults: Faults,
}

impl Default for SimulatorSettings {
    /// 200 devices that send once a second, with 2 % spikes and no other fault.
    fn default() -> Self {
        SimulatorSettings {
            sensors: 200,
            rate: 200.0,
            seed: 1,
            spike_probability: 0.02,
            faults: Faults::NONE,
        }
    }
}

/// Why nothing can be simulated with these settings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SimulatorError {
    #[error("sensors must be at least 1")]
    NoSensors,
    #[error("rate is {0}, must be above 0 and at most a million readings a second for each sensor")]
    Rate(f64),
    #[error("spike_probability is {0}, must be from 0 to 1")]
    SpikeProbability(f64),
}

/// One reading of a simulated device, as it arrives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulatedReading {
    /// When it arrives.
    pub due: Timestamp,
    /// The number of its device, from 1.
    pub device: u32,
    /// Event time.
    pub time: Timestamp,
    /// In °C; NaN from a device with that fault.
    pub value: f64,
    /// What is wrong with it; empty for a healthy one.
    pub labels: Faults,
}

impl SimulatedReading {
    /// The sensor id: `sim-000001` and so on.
    pub fn sensor_id(&self) -> String {
        format!("sim-{:06}", self.device)
    }

    /// Appends the reading as canonical JSON. NaN becomes text, which the decoder refuses as it would a broken device's.
    /// With `label`, what is wrong is told in a tag `label`.
    pub fn encode(&self, label: bool, out: &mut Vec<u8>) {
        let tags = (label && !self.labels.is_empty())
            .then(|| {
                serde_json::value::to_raw_value(&serde_json::json!({"label": self.labels.to_string()})).ok()
            })
            .flatten();
        let draft = Draft {
            sensor: Cow::Owned(self.sensor_id()),
            metric: Cow::Borrowed(METRIC),
            value: self.value,
            time: Some(self.time),
            unit: Some(Cow::Borrowed(UNIT)),
            quality: Quality::Good,
            tags: tags.as_deref().and_then(|raw| RawTags::check(raw).ok()),
            item: 0,
        };
        encode_canonical(&draft, out);
    }
}

/// Gives the readings in the order in which they arrive, without end. Use [`Iterator::peekable`] to wait for each.
pub struct Simulator {
    settings: SimulatorSettings,
    start: Timestamp,
    rng: ChaCha8Rng,
    devices: Vec<Device>,
    /// How many turns were taken; they go round all devices.
    turn: u64,
    /// Readings and copies that arrive later than they should.
    held: BinaryHeap<Reverse<Held>>,
}

impl Simulator {
    pub fn new(settings: SimulatorSettings, start: Timestamp) -> Result<Self, SimulatorError> {
        if settings.sensors == 0 {
            return Err(SimulatorError::NoSensors);
        }
        if !(settings.rate > 0.0 && settings.rate <= 1e6 * f64::from(settings.sensors)) {
            return Err(SimulatorError::Rate(settings.rate));
        }
        if !(0.0..=1.0).contains(&settings.spike_probability) {
            return Err(SimulatorError::SpikeProbability(settings.spike_probability));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let devices = (0..settings.sensors)
            .map(|device| Device::new(faults_of(device, &settings), &mut rng))
            .collect();
        Ok(Simulator {
            settings,
            start,
            rng,
            devices,
            turn: 0,
            held: BinaryHeap::new(),
        })
    }

    fn turn_due(&self) -> Timestamp {
        let after = self.turn as f64 * 1e6 / self.settings.rate;
        self.start.saturating_add(after as Micros)
    }

    /// One device has its turn; nothing comes of it if it is silent or its reading is held up.
    fn take_turn(&mut self) -> Option<SimulatedReading> {
        let due = self.turn_due();
        let index = (self.turn % self.devices.len() as u64) as usize;
        self.turn += 1;
        let device = &mut self.devices[index];
        let faults = device.faults;
        let measured = device.measure(due, self.settings.spike_probability, &mut self.rng)?;
        let reading = SimulatedReading {
            due,
            device: index as u32 + 1,
            time: measured.time,
            value: measured.value,
            labels: measured.labels,
        };
        let mut strikes = |fault, probability| faults.has(fault) && self.rng.random_bool(probability);
        if strikes(Fault::Late, LATE_PROBABILITY) {
            let delay = self.rng.random_range(LATE_BY);
            self.hold(reading, Fault::Late, delay);
            return None;
        }
        if strikes(Fault::Disorder, DISORDER_PROBABILITY) {
            self.hold(reading, Fault::Disorder, self.period() * 3 / 2);
            return None;
        }
        if strikes(Fault::Duplicates, DUPLICATE_PROBABILITY) {
            self.hold(reading, Fault::Duplicates, self.period() / 2);
        }
        Some(reading)
    }

    /// From one reading of a device to its next, in microseconds.
    fn period(&self) -> Micros {
        (f64::from(self.settings.sensors) * 1e6 / self.settings.rate) as Micros
    }

    fn hold(&mut self, mut reading: SimulatedReading, fault: Fault, delay: Micros) {
        reading.due = reading.due.saturating_add(delay);
        reading.labels = reading.labels.with(fault);
        self.held.push(Reverse(Held {
            due: reading.due,
            turn: self.turn,
            reading,
        }));
    }
}

impl Iterator for Simulator {
    type Item = SimulatedReading;

    fn next(&mut self) -> Option<SimulatedReading> {
        loop {
            if let Some(Reverse(next)) = self.held.peek()
                && next.due <= self.turn_due()
            {
                return self.held.pop().map(|Reverse(held)| held.reading);
            }
            if let Some(reading) = self.take_turn() {
                return Some(reading);
            }
        }
    }
}

/// The faults are dealt out one by one, each to every twentieth device.
fn faults_of(device: u32, settings: &SimulatorSettings) -> Faults {
    let stride = DEVICES_PER_FAULT.min(settings.sensors);
    let dealt = settings.faults.iter().zip(0..);
    dealt
        .filter(|(_, place)| place % stride == device % stride)
        .map(|(fault, _)| fault)
        .collect()
}

/// Ordered by when it arrives, then by when it was taken.
struct Held {
    due: Timestamp,
    turn: u64,
    reading: SimulatedReading,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.turn).cmp(&(other.due, other.turn))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

#[cfg(test)]
mod tests;
