//! The last hour in one line of text.

use serde::Serialize;

use crate::actors::alerting::words;
use crate::domain::Timestamp;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const WIDTH: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spark {
    /// Blocks; a space where nothing was heard.
    pub line: String,
    /// `min 60.2, max 93.1, now 93.1 °C`
    pub words: String,
}

impl Spark {
    /// `points` are finite and in order; of fewer than two there is nothing to be seen.
    pub(super) fn of(points: &[(Timestamp, f64)], unit: Option<&str>) -> Option<Self> {
        let ((start, _), (end, last)) = (points.first()?, points.last()?);
        let length = end.since(*start);
        if length == 0 {
            return None;
        }
        let (low, high) = points
            .iter()
            .fold((f64::MAX, f64::MIN), |(low, high), (_, value)| {
                (low.min(*value), high.max(*value))
            });
        let mut columns: [Option<f64>; WIDTH] = [None; WIDTH];
        for (time, value) in points {
            let part = time.since(*start) as f64 / length as f64;
            let at = ((part * WIDTH as f64) as usize).min(WIDTH - 1);
            // What is highest is what somebody was told about, as a rule.
            columns[at] = Some(columns[at].map_or(*value, |highest| highest.max(*value)));
        }
        let block = |column: &Option<f64>| match column {
            None => ' ',
            Some(_) if low == high => BLOCKS[3],
            Some(value) => {
                let part = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
                BLOCKS[((part * 7.0).round() as usize).min(7)]
            }
        };
        let now = words::measure(&words::figure(*last), unit);
        Some(Self {
            line: columns.iter().map(block).collect(),
            words: format!(
                "min {}, max {}, now {now}",
                words::figure(low),
                words::figure(high)
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<(Timestamp, f64)> {
        let at = |n: usize| Timestamp::from_seconds(n as i64);
        values
            .iter()
            .enumerate()
            .map(|(n, value)| (at(n), *value))
            .collect()
    }

    #[test]
    fn it_rises_with_its_values() {
        let values: Vec<f64> = (0..80).map(f64::from).collect();
        let spark = Spark::of(&points(&values), Some("°C")).unwrap();
        assert_eq!(spark.words, "min 0, max 79, now 79 °C");
        assert_eq!(spark.line.chars().count(), WIDTH);
        assert!(
            spark.line.starts_with("▁▁▁▂") && spark.line.ends_with("███"),
            "{}",
            spark.line
        );
    }

    #[test]
    fn a_gap_is_one_and_what_is_level_is_in_the_middle() {
        let mut points = points(&[1.0, 1.0]);
        points[1].0 = Timestamp::from_seconds(3_600);
        let line = Spark::of(&points, None).unwrap().line;
        assert_eq!(line, format!("▄{}▄", " ".repeat(WIDTH - 2)));
    }

    #[test]
    fn one_time_is_no_line() {
        assert_eq!(Spark::of(&points(&[1.0]), None), None);
        assert_eq!(Spark::of(&[], None), None);
    }
}
