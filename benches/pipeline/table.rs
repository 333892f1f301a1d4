//! The table that is printed in the end, and the clocks.

use std::time::{Duration, Instant};

/// A row: what was measured beside its ceiling from the same run.
pub struct Row {
    pub name: String,
    pub measured: String,
    pub ceiling: String,
    pub ratio: String,
    pub target: &'static str,
    pub met: bool,
}

pub fn print(rows: &[Row]) {
    println!();
    let line = |name: &str, measured: &str, ceiling: &str, ratio: &str, target: &str, met: &str| {
        println!("| {name:<52} | {measured:>24} | {ceiling:>24} | {ratio:>7} | {target:>16} | {met:<4} |");
    };
    line("row", "measured", "ceiling", "ratio", "target", "met");
    for row in rows {
        let met = if row.met { "yes" } else { "no" };
        line(
            &row.name,
            &row.measured,
            &row.ceiling,
            &row.ratio,
            row.target,
            met,
        );
    }
}

pub fn percent(ratio: f64) -> String {
    format!("{:.0} %", 100.0 * ratio)
}

/// Time on the wall and on the cores, added up over turns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub wall: Duration,
    pub cores: Duration,
}

/// Runs from its start on.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    cores: Duration,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            cores: on_cores("self"),
        }
    }

    pub fn spent(&self) -> Spent {
        Spent {
            wall: self.began.elapsed(),
            cores: on_cores("self").saturating_sub(self.cores),
        }
    }
}

impl Spent {
    pub fn on(&mut self, work: impl FnOnce()) {
        let clock = Clock::start();
        work();
        let spent = clock.spent();
        self.wall += spent.wall;
        self.cores += spent.cores;
    }

    pub fn per_second(&self, count: usize) -> f64 {
        count as f64 / self.wall.as_secs_f64()
    }

    /// Seconds of a core for a million.
    pub fn cores_per_million(&self, count: usize) -> f64 {
        self.cores.as_secs_f64() * 1e6 / count as f64
    }
}

/// What a process (`self`, or its number) or this thread (`thread-self`) has had of the cores, to a hundredth of a second; 0
/// where the system does not tell.
pub fn on_cores(of: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{of}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Bytes of memory in use by this process; 0 where the system does not tell.
pub fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}

/// The value below which `share` of the samples lie.
pub fn quantile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let at = (samples.len() as f64 * share).ceil() as usize;
    samples[at.clamp(1, samples.len()) - 1]
}
