//! The machine the service runs on, as a sensor: its load, memory, disk and network in figures an operator wants.
//!
//! Invariants: figures are finite, and what the machine does not tell is left out rather than shown as 0. No clock: rates are
//! taken over the time that the caller measured since the last read, so the first read has none.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sysinfo::{Components, DiskRefreshKind, Disks, Networks, System};

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MachineFigure {
    /// The name of its metric.
    pub metric: &'static str,
    pub value: f64,
    pub unit: Option<&'static str>,
}

/// Why the machine cannot be read: the system is none that is supported.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the figures of this machine: {0}")]
pub struct MachineError(#[from] sysinfo::Error);

/// Reads the machine, again and again.
///
/// | metric | what it is |
/// | --- | --- |
/// | `cpu_usage` | % of all cores together, since the last read |
/// | `memory_usage`, `swap_usage` | % of what there is |
/// | `disk_usage` | % of the file system that holds the data directory, which is the one whose filling stops the service |
/// | `disk_io` | bytes/s read and written, all mounted devices together |
/// | `network_traffic` | bytes/s in and out, all interfaces but loopback; what crosses a virtual interface counts there too |
/// | `load_1m`, `load_5m`, `load_15m` | processes that run or want to, on average |
/// | `temperature_max` | °C of the hottest component |
pub struct MachineReader {
    data_directory: PathBuf,
    system: System,
    disks: Disks,
    networks: Networks,
    components: Components,
    disk_bytes: Counters,
    network_bytes: Counters,
    has_read: bool,
}

impl MachineReader {
    /// Nothing is read yet. `data_directory` need not exist.
    pub fn new(data_directory: &Path) -> Result<Self, MachineError> {
        let absolute = std::path::absolute(data_directory).unwrap_or_else(|_| data_directory.to_owned());
        Ok(MachineReader {
            data_directory: absolute.canonicalize().unwrap_or(absolute),
            system: System::new()?,
            disks: Disks::new()?,
            networks: Networks::new()?,
            components: Components::new()?,
            disk_bytes: Counters::default(),
            network_bytes: Counters::default(),
            has_read: false,
        })
    }

    /// Reads everything. Takes the time since the last read; the first one ignores it and has no `cpu_usage` and no rates.
    /// Below [`sysinfo::MINIMUM_CPU_UPDATE_INTERVAL`] the `cpu_usage` of the read before is repeated. Reads files and may
    /// wait for slow hardware sensors, so it does not belong on a thread that must not wait.
    pub fn read(&mut self, since_last: Duration) -> Vec<MachineFigure> {
        let mut figures = Vec::with_capacity(10);
        let mut give = |metric, value: Option<f64>, unit| {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                figures.push(MachineFigure { metric, value, unit });
            }
        };
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        let kinds = DiskRefreshKind::nothing().with_storage().with_io_usage();
        self.disks.refresh_specifics(true, kinds);
        self.networks.refresh(true);
        self.components.refresh(true);

        let system = &self.system;
        let cpu = self.has_read.then(|| f64::from(system.global_cpu_usage()));
        give("cpu_usage", cpu, Some("%"));
        let memory = percent(system.used_memory(), system.total_memory());
        give("memory_usage", memory, Some("%"));
        let swap = percent(system.used_swap(), system.total_swap());
        give("swap_usage", swap, Some("%"));
        give("disk_usage", self.disk_usage(), Some("%"));
        let disk_io = disk_bytes(&self.disks);
        give("disk_io", self.disk_bytes.rate(disk_io, since_last), Some("B/s"));
        let traffic = network_bytes(&self.networks);
        let traffic = self.network_bytes.rate(traffic, since_last);
        give("network_traffic", traffic, Some("B/s"));
        if let Ok(load) = System::load_average() {
            give("load_1m", Some(load.one), None);
            give("load_5m", Some(load.five), None);
            give("load_15m", Some(load.fifteen), None);
        }
        give("temperature_max", self.temperature_max(), Some("C"));
        self.has_read = true;
        figures
    }

    fn disk_usage(&self) -> Option<f64> {
        let holding = self
            .disks
            .iter()
            .filter(|disk| self.data_directory.starts_with(disk.mount_point()))
            .max_by_key(|disk| disk.mount_point().as_os_str().len())?;
        let total = holding.total_space();
        percent(total.saturating_sub(holding.available_space()), total)
    }

    fn temperature_max(&self) -> Option<f64> {
        let temperatures = self
            .components
            .iter()
            .filter_map(|component| component.temperature());
        temperatures
            .map(f64::from)
            .filter(|celsius| celsius.is_finite())
            .reduce(f64::max)
    }
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (100.0 * part as f64 / whole as f64).min(100.0))
}

/// By device, because a device can be mounted in several places.
fn disk_bytes(disks: &Disks) -> HashMap<OsString, u64> {
    let of_disk = |disk: &sysinfo::Disk| {
        let usage = disk.usage();
        let bytes = usage.total_read_bytes.saturating_add(usage.total_written_bytes);
        (disk.name().to_owned(), bytes)
    };
    disks.iter().map(of_disk).collect()
}

fn network_bytes(networks: &Networks) -> HashMap<OsString, u64> {
    networks
        .iter()
        .filter(|(name, data)| {
            let loopback = data
                .ip_networks()
                .iter()
                .any(|network| network.addr.is_loopback());
            !loopback && name.as_os_str() != "lo"
        })
        .map(|(name, data)| {
            let bytes = data.total_received().saturating_add(data.total_transmitted());
            (name.clone(), bytes)
        })
        .collect()
}

/// Byte counts of devices that only grow, while the devices come and go.
#[derive(Default)]
struct Counters {
    last: Option<HashMap<OsString, u64>>,
}

impl Counters {
    /// Bytes a second since the last call, of the devices that were there then and now; `None` if there was none.
    fn rate(&mut self, now: HashMap<OsString, u64>, elapsed: Duration) -> Option<f64> {
        let last = self.last.replace(now)?;
        let grown = |(name, bytes): (&OsString, &u64)| Some(bytes.saturating_sub(*last.get(name)?));
        let grown: Vec<u64> = self.last.iter().flatten().filter_map(grown).collect();
        if grown.is_empty() || elapsed.is_zero() {
            return None;
        }
        let bytes: f64 = grown.iter().map(|bytes| *bytes as f64).sum();
        Some(bytes / elapsed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    fn reader() -> MachineReader {
        MachineReader::new(Path::new(".")).unwrap()
    }

    fn figure(figures: &[MachineFigure], metric: &str) -> Option<f64> {
        let found = figures.iter().find(|figure| figure.metric == metric);
        found.map(|figure| figure.value)
    }

    #[test]
    fn the_first_read_has_states_but_no_rates() {
        let first = reader().read(SECOND);
        for metric in ["cpu_usage", "disk_io", "network_traffic"] {
            assert_eq!(figure(&first, metric), None, "{metric}");
        }
        for metric in ["memory_usage", "load_1m"] {
            assert!(figure(&first, metric).is_some(), "{metric}");
        }
    }

    #[test]
    fn figures_are_in_range_and_named_once() {
        let mut reader = reader();
        reader.read(SECOND);
        let figures = reader.read(SECOND);
        for (place, figure) in figures.iter().enumerate() {
            assert!(crate::domain::MetricName::check(figure.metric).is_ok());
            assert!(
                figures[..place]
                    .iter()
                    .all(|earlier| earlier.metric != figure.metric)
            );
            assert!(figure.value.is_finite(), "{figure:?}");
            if figure.metric != "temperature_max" {
                assert!(figure.value >= 0.0, "{figure:?}");
            }
            if figure.unit == Some("%") {
                assert!(figure.value <= 100.0, "{figure:?}");
            }
        }
        let memory = figure(&figures, "memory_usage").unwrap();
        assert!(memory > 0.0 && figure(&figures, "cpu_usage").is_some());
    }

    /// However busy the others are, what this thread uses is in the figure; a quarter of a core allows for a quota.
    #[test]
    fn a_busy_core_shows() {
        let mut reader = reader();
        reader.read(SECOND);
        let until = Instant::now() + 2 * sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;
        let mut work = 0_u64;
        while Instant::now() < until {
            work = std::hint::black_box(work.wrapping_mul(31).wrapping_add(7));
        }
        let usage = figure(&reader.read(SECOND), "cpu_usage").unwrap();
        let cores = reader.system.cpus().len() as f64;
        assert!(usage > 25.0 / cores, "{usage} % of {cores} cores");
    }

    #[test]
    fn rates_are_of_the_devices_that_stay_over_the_time_that_passed() {
        let counters =
            |bytes: &[(&str, u64)]| bytes.iter().map(|(name, n)| (OsString::from(name), *n)).collect();
        let mut disks = Counters::default();
        assert_eq!(disks.rate(counters(&[("sda", 1_000), ("sdb", 5)]), SECOND), None);
        let half = Duration::from_millis(500);
        assert_eq!(
            disks.rate(counters(&[("sda", 3_000), ("sdb", 5)]), half),
            Some(4_000.0)
        );
        assert_eq!(
            disks.rate(counters(&[("sda", 3_100), ("usb", 9_999)]), SECOND),
            Some(100.0)
        );
        assert_eq!(
            disks.rate(counters(&[("sda", 0), ("usb", 9_999)]), SECOND),
            Some(0.0)
        );
        assert_eq!(disks.rate(counters(&[("sda", 7)]), Duration::ZERO), None);
        assert_eq!(disks.rate(counters(&[]), SECOND), None);
    }

    #[test]
    fn the_disk_is_known_before_the_data_directory_exists() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = MachineReader::new(&directory.path().join("not/there/yet")).unwrap();
        let usage = figure(&reader.read(SECOND), "disk_usage").unwrap();
        assert!(usage > 0.0 && usage <= 100.0);
    }
}
