//! What must be made before readings of an archive can be put back, whatever the database.
//!
//! Invariant: numbers follow the largest that there is and what instances have taken; those who take some later go on after
//! the largest.

use std::collections::HashMap;

use super::archives::{Adopted, SeriesName};
use crate::domain::{Seq, SeriesId};

/// What a database knows of a name: the numbers of its sensor and its series.
pub(super) type Known = (Option<u32>, Option<u32>);

/// What the database gave out so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    pub next_sensor: u32,
    pub next_series: u32,
    /// The next batch number that nobody has taken.
    pub next_batch: u64,
}

/// What there is to be made, and the numbers of all series when it is.
#[derive(Debug, Default)]
pub(super) struct Adoption<'a> {
    pub sensors: Vec<(u32, &'a SeriesName)>,
    /// Series, its sensor, its name.
    pub series: Vec<(u32, u32, &'a SeriesName)>,
    /// Where the batch numbers must go on.
    pub next_batch: Option<u64>,
    pub all: Vec<SeriesId>,
}

impl<'a> Adoption<'a> {
    pub fn plan(names: &'a [SeriesName], known: &[Known], newest: Seq, given: Given) -> Self {
        let mut plan = Self::default();
        let mut made: HashMap<&str, u32> = HashMap::new();
        let (mut next_sensor, mut next_series) = (given.next_sensor, given.next_series);
        for (name, (sensor, series)) in names.iter().zip(known) {
            let series = series.unwrap_or_else(|| {
                let sensor = sensor.unwrap_or_else(|| {
                    *made.entry(name.sensor.as_str()).or_insert_with(|| {
                        plan.sensors.push((next_sensor, name));
                        next_sensor += 1;
                        next_sensor - 1
                    })
                });
                plan.series.push((next_series, sensor, name));
                next_series += 1;
                next_series - 1
            });
            plan.all.push(SeriesId(series));
        }
        let next_batch = newest.batch().0 + 1;
        plan.next_batch = (next_batch > given.next_batch).then_some(next_batch);
        plan
    }

    /// The answer, where nothing may be made.
    pub fn refused(&self) -> Option<Adopted> {
        if let Some((_, _, name)) = self.series.first() {
            return Some(Adopted::NotAlone(format!(
                "it holds the metric {:?} of the sensor {:?}, which this database does not know",
                name.metric.as_str(),
                name.sensor.as_str()
            )));
        }
        self.next_batch.map(|_| {
            Adopted::NotAlone("its readings have sequences that this database never gave".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BatchNumber, MetricName, SensorId, Tags};

    fn name(sensor: &str, metric: &str) -> SeriesName {
        SeriesName {
            sensor: SensorId::parse(sensor).unwrap(),
            tags: Tags::new(),
            metric: MetricName::parse(metric).unwrap(),
            unit: None,
        }
    }

    #[test]
    fn only_what_is_missing_is_made_and_a_sensor_once() {
        let names = [name("a", "x"), name("b", "x"), name("b", "y"), name("a", "y")];
        let known = [(Some(0), Some(1)), (None, None), (None, None), (Some(0), None)];
        let given = Given {
            next_sensor: 1,
            next_series: 2,
            next_batch: 10,
        };
        let plan = Adoption::plan(&names, &known, BatchNumber(9).end(), given);
        assert_eq!(plan.all, [1, 2, 3, 4].map(SeriesId));
        assert_eq!(plan.sensors.len(), 1);
        let series: Vec<_> = plan
            .series
            .iter()
            .map(|(series, sensor, _)| (*series, *sensor))
            .collect();
        assert_eq!(series, [(2, 1), (3, 1), (4, 0)]);
        assert_eq!(plan.next_batch, None);
        assert!(plan.refused().is_some());

        let plan = Adoption::plan(&names[..1], &known[..1], BatchNumber(9).end(), given);
        assert_eq!(plan.refused(), None);
        let plan = Adoption::plan(&names[..1], &known[..1], BatchNumber(10).end(), given);
        assert_eq!(plan.next_batch, Some(11));
        assert!(plan.refused().is_some());
    }
}
