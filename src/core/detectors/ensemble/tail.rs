//! Upper tails of all features: how rare is a value, given what was seen before?
//!
//! Peaks over threshold: of each feature the greatest value of every block of readings is a peak, and the greatest
//! [`PEAKS`] peaks are kept. Above the smallest of them, u, excesses are taken as exponential with their mean m, so a
//! value x is expected once in `n / k · exp((x − u) / m)` readings, of n readings with k peaks kept. For thinner tails
//! than the exponential that errs to the quiet side; for heavier ones the peaks themselves widen m. (Pickands,
//! "Statistical inference using extreme order statistics", 1975; for streams: Siffer et al., "Anomaly detection in
//! streams with extreme value theory", 2017.)
//!
//! Invariants: kept peaks are sorted, greatest first, and finite. A block is judged by the blocks before it, never by
//! itself. Rarities are in 0..=[`RAREST`].

use serde::{Deserialize, Serialize};

use super::features::FEATURES;

/// Peaks kept of each feature.
pub(in crate::core) const PEAKS: usize = 16;
/// The greatest power of ten that is told; what is rarer is so beyond any history.
pub(in crate::core) const RAREST: f32 = 12.0;

/// Fewer peaks than this say nothing.
const FEWEST: usize = 3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Tails {
    /// Greatest of the running block.
    running: [f32; FEATURES],
    /// The smallest peak kept.
    floor: [f32; FEATURES],
    peaks: [[f32; PEAKS]; FEATURES],
    kept: u8,
    /// Readings in the running block, and blocks since the beginning, where forgotten ones do not count.
    in_block: u32,
    blocks: u32,
    /// Readings for each kept peak, as a power of ten.
    period: f32,
}

impl Tails {
    pub fn new() -> Self {
        Tails {
            running: [f32::MIN; FEATURES],
            floor: [f32::MIN; FEATURES],
            peaks: [[f32::MIN; PEAKS]; FEATURES],
            kept: 0,
            in_block: 0,
            blocks: 0,
            period: 0.0,
        }
    }

    /// How rare each of these is: expected once in 10 to the power of this readings.
    pub fn rarities(&self, values: &[f32; FEATURES], least_excess: f32) -> [f32; FEATURES] {
        let mut rarities = [0.0; FEATURES];
        if usize::from(self.kept) >= FEWEST {
            for feature in 0..FEATURES {
                if values[feature] > self.floor[feature] {
                    rarities[feature] = self.rarity(feature, values[feature], least_excess);
                }
            }
        }
        rarities
    }

    #[inline(never)]
    fn rarity(&self, feature: usize, value: f32, least_excess: f32) -> f32 {
        let excess = (value - self.floor[feature]) / self.mean_excess(feature, least_excess);
        (self.period + excess * std::f32::consts::LOG10_E).min(RAREST)
    }

    /// Of what this feature would have to be to be so rare. `None` as long as nothing is known of it.
    pub fn limit(&self, feature: usize, rarity: f32, least_excess: f32) -> Option<f64> {
        let decades = (rarity - self.period).max(0.0) / std::f32::consts::LOG10_E;
        let excess = f64::from(decades) * f64::from(self.mean_excess(feature, least_excess));
        (usize::from(self.kept) >= FEWEST).then(|| f64::from(self.floor[feature]) + excess)
    }

    fn mean_excess(&self, feature: usize, least: f32) -> f32 {
        let floor = self.floor[feature];
        let kept = &self.peaks[feature][..usize::from(self.kept)];
        let mean = kept.iter().map(|peak| peak - floor).sum::<f32>() / kept.len().max(1) as f32;
        // Rounding is no excess.
        mean.max(least)
            .max(floor.abs() * f32::EPSILON)
            .max(f32::MIN_POSITIVE)
    }

    /// Takes a reading in. Half of the peaks are forgotten after `memory` readings.
    pub fn learn(&mut self, values: &[f32; FEATURES], block: u32, memory: f64) {
        for (running, value) in self.running.iter_mut().zip(values) {
            *running = running.max(*value);
        }
        self.in_block += 1;
        if self.in_block >= block {
            self.end_block(block, memory);
        }
    }

    #[inline(never)]
    fn end_block(&mut self, block: u32, memory: f64) {
        let kept = usize::from(self.kept);
        for (peaks, peak) in self.peaks.iter_mut().zip(&mut self.running) {
            let place = peaks[..kept].partition_point(|other| *other >= *peak);
            if place < PEAKS {
                peaks[place..].rotate_right(1);
                peaks[place] = *peak;
            }
            *peak = f32::MIN;
        }
        self.kept = (kept + 1).min(PEAKS) as u8;
        self.in_block = 0;
        self.blocks += 1;
        if f64::from(self.blocks) * f64::from(block) >= memory && usize::from(self.kept) == PEAKS {
            self.forget();
        }
        let kept = usize::from(self.kept);
        for (floor, peaks) in self.floor.iter_mut().zip(&self.peaks) {
            *floor = peaks[kept - 1];
        }
        self.period = (self.blocks as f32 * block as f32 / kept as f32).log10();
    }

    /// Every second peak goes, the greatest first, and half of the history: the frequency of a peak stays the same.
    fn forget(&mut self) {
        for peaks in &mut self.peaks {
            for at in 0..PEAKS / 2 {
                peaks[at] = peaks[2 * at + 1];
            }
            peaks[PEAKS / 2..].fill(f32::MIN);
        }
        self.kept = (PEAKS / 2) as u8;
        self.blocks = self.blocks.div_ceil(2);
    }

    pub fn is_sound(&self) -> bool {
        let kept = usize::from(self.kept);
        let sorted = |peaks: &[f32; PEAKS]| peaks[..kept.min(PEAKS)].is_sorted_by(|a, b| a >= b);
        let numbers = self
            .running
            .iter()
            .chain(&self.floor)
            .chain(self.peaks.as_flattened());
        kept <= PEAKS
            && self.blocks >= u32::from(self.kept)
            && self.blocks < u32::MAX / 2
            && self.in_block < u32::MAX
            && (0.0..=RAREST).contains(&self.period)
            && numbers.copied().all(f32::is_finite)
            && self.peaks.iter().all(sorted)
            && (kept == 0
                || self
                    .floor
                    .iter()
                    .zip(&self.peaks)
                    .all(|(floor, peaks)| *floor == peaks[kept - 1]))
    }
}
