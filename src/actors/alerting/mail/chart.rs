//! The chart in a mail: the last hour of a series as a PNG, to be read on a phone.
//!
//! Invariants: pure and the same for the same points. Figures that are not finite are left out; whatever else is asked
//! for can be drawn. The ground is white, since a picture cannot follow a client into its dark mode. Text has only the
//! letters of the built-in font: other ones are left out, so a unit in another script is in the words beside the chart
//! alone.
//! How it fails: fewer than two points are no chart.

use super::canvas::{Align, Canvas, Size, printable, text_width};
use super::scale::{Scale, time_ticks, value_ticks};
use crate::actors::alerting::words;
use crate::domain::{Level, Micros, Timestamp};

/// Of the picture. It is shown somewhat smaller or, on a phone, at half, so its text is large.
pub const WIDTH: u32 = 660;
pub const HEIGHT: u32 = 360;

const TOP: f32 = 50.0;
const BOTTOM: f32 = HEIGHT as f32 - 46.0;
const RIGHT: f32 = WIDTH as f32 - 24.0;

const INK: [u8; 3] = [31, 41, 55];
const FAINT: [u8; 3] = [107, 114, 128];
const GRID: [u8; 3] = [229, 231, 235];
const LINE: [u8; 3] = [37, 99, 235];
const EXPECTED: [u8; 3] = [22, 163, 74];

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Chart<'a> {
    /// In any order.
    pub points: &'a [(Timestamp, f64)],
    pub unit: Option<&'a str>,
    pub threshold: Option<f64>,
    pub expected: Option<(f64, f64)>,
    /// While the condition held.
    pub since: Timestamp,
    pub ended: Option<Timestamp>,
    pub level: Level,
}

/// Where a level's color is used.
pub fn color(level: Level) -> [u8; 3] {
    match level {
        Level::Info => [37, 99, 235],
        Level::Warning => [180, 83, 9],
        Level::Error => [194, 65, 12],
        Level::Critical => [185, 28, 28],
    }
}

/// Points that can be drawn, in order.
pub fn drawable(points: &[(Timestamp, f64)]) -> Vec<(Timestamp, f64)> {
    // Differences of what is larger have no room in a float.
    let mut points: Vec<_> = points
        .iter()
        .filter(|(_, value)| value.abs() < 1e300)
        .copied()
        .collect();
    points.sort_by_key(|(time, _)| *time);
    points
}

impl Chart<'_> {
    /// A PNG of [`WIDTH`] by [`HEIGHT`]; `None` where there are fewer than two points.
    pub fn to_png(&self) -> Option<Vec<u8>> {
        let points = drawable(self.points);
        let ((start, _), (end, _)) = (*points.first()?, *points.last()?);
        if start == end {
            return None;
        }
        let mut canvas = Canvas::new()?;
        let values = self.values(&points);
        let (ticks, labels) = value_ticks(&values);
        let widest = labels
            .iter()
            .map(|label| label.chars().count())
            .max()
            .unwrap_or(0);
        let left = 20.0 + text_width(&"0".repeat(widest), Size::Small);
        let frame = Frame {
            x: Scale::new((start.0 as f64, end.0 as f64), (left, RIGHT)),
            y: Scale::new(values, (BOTTOM, TOP)),
        };
        self.ground(&mut canvas, &frame, (start, end));
        for (tick, label) in ticks.iter().zip(&labels) {
            let y = frame.y.at(*tick);
            canvas.stroke(&[(left, y), (RIGHT, y)], GRID, 2.0, None);
            canvas.text(
                label,
                (left - 10.0, y),
                Size::Small,
                FAINT,
                (Align::End, Align::Middle),
            );
        }
        for (time, label) in time_ticks(start, end) {
            let x = frame.x.at(time.0 as f64);
            canvas.stroke(&[(x, BOTTOM), (x, BOTTOM + 8.0)], FAINT, 2.0, None);
            let half = text_width(&label, Size::Small) / 2.0;
            let x = x.clamp(half + 4.0, WIDTH as f32 - half - 4.0);
            canvas.text(
                &label,
                (x, BOTTOM + 12.0),
                Size::Small,
                FAINT,
                (Align::Middle, Align::Start),
            );
        }
        canvas.stroke(&[(left, BOTTOM), (RIGHT, BOTTOM)], FAINT, 2.0, None);
        self.curve(&mut canvas, &frame, &points);
        self.limit(&mut canvas, &frame);
        self.heading(&mut canvas, points.last().map(|(_, value)| *value));
        canvas.into_png()
    }

    /// The range of values to be shown: that of the points, and what they are judged by where that is not so far off
    /// that nothing could be seen of the points.
    fn values(&self, points: &[(Timestamp, f64)]) -> (f64, f64) {
        let (mut low, mut high) = points
            .iter()
            .fold((f64::MAX, f64::MIN), |(low, high), (_, value)| {
                (low.min(*value), high.max(*value))
            });
        let room = 4.0 * (high - low).max(high.abs().max(low.abs()) * 0.05);
        let near = |value: &f64| value.is_finite() && (low - room..=high + room).contains(value);
        let judged = [
            self.threshold,
            self.expected.map(|(low, _)| low),
            self.expected.map(|(_, high)| high),
        ];
        for value in judged.into_iter().flatten().filter(near).collect::<Vec<_>>() {
            (low, high) = (low.min(value), high.max(value));
        }
        let margin = match (high - low) * 0.08 {
            margin if margin > 0.0 => margin,
            _ => (high.abs() * 0.05).max(0.5),
        };
        (low - margin, high + margin)
    }

    /// What lies behind the curve: where values were expected, and while the condition held.
    fn ground(&self, canvas: &mut Canvas, frame: &Frame, (start, end): (Timestamp, Timestamp)) {
        if let Some((low, high)) = self
            .expected
            .filter(|(low, high)| low.is_finite() && high.is_finite())
        {
            let (top, bottom) = (frame.y.within(high), frame.y.within(low));
            canvas.fill((frame.x.from(), top, RIGHT, bottom), EXPECTED, 36);
        }
        let until = self.ended.unwrap_or(end).min(end);
        if self.since < until {
            let from = frame.x.at(self.since.max(start).0 as f64);
            let to = frame.x.at(until.0 as f64);
            canvas.fill((from, TOP, to, BOTTOM), color(self.level), 26);
        }
    }

    /// Broken where nothing was heard for much longer than usual.
    fn curve(&self, canvas: &mut Canvas, frame: &Frame, points: &[(Timestamp, f64)]) {
        let gap = usual_step(points).saturating_mul(10);
        for part in points.chunk_by(|(one, _), (next, _)| next.since(*one) <= gap) {
            let path: Vec<(f32, f32)> = part
                .iter()
                .map(|(time, value)| (frame.x.at(time.0 as f64), frame.y.at(*value)))
                .collect();
            match path.as_slice() {
                [alone] => canvas.dot(*alone, 4.0, LINE),
                path => canvas.stroke(path, LINE, 5.0, None),
            }
        }
        if let Some((time, value)) = points.last() {
            let at = (frame.x.at(time.0 as f64), frame.y.at(*value));
            canvas.dot(at, 11.0, [255, 255, 255]);
            canvas.dot(at, 8.0, LINE);
        }
    }

    fn limit(&self, canvas: &mut Canvas, frame: &Frame) {
        let Some(limit) = self.threshold.filter(|limit| frame.y.shows(*limit)) else {
            return;
        };
        let y = frame.y.at(limit);
        let ink = color(Level::Critical);
        canvas.stroke(&[(frame.x.from(), y), (RIGHT, y)], ink, 3.0, Some([12.0, 8.0]));
        let label = format!("limit {}", words::figure(limit));
        let above = if y - 36.0 > TOP {
            (y - 4.0, Align::End)
        } else {
            (y + 4.0, Align::Start)
        };
        canvas.label(
            &label,
            (frame.x.from() + 8.0, above.0),
            Size::Small,
            ink,
            (Align::Start, above.1),
        );
    }

    fn heading(&self, canvas: &mut Canvas, last: Option<f64>) {
        let Some(last) = last else { return };
        let value = match self.threshold {
            Some(limit) => words::figure_beside(last, limit),
            None => words::figure(last),
        };
        let text = format!("now {}", words::measure(&value, self.unit));
        let room = RIGHT - 20.0;
        let size = match text_width(&printable(&text), Size::Large) > room {
            true => Size::Small,
            false => Size::Large,
        };
        canvas.text(&text, (RIGHT, 8.0), size, INK, (Align::End, Align::Start));
        let period = "last hour, UTC";
        if text_width(&printable(&text), size) + text_width(period, Size::Small) + 30.0 < room {
            canvas.text(
                period,
                (20.0, 12.0),
                Size::Small,
                FAINT,
                (Align::Start, Align::Start),
            );
        }
    }
}

/// The middle one of the times between neighbors.
fn usual_step(points: &[(Timestamp, f64)]) -> Micros {
    let mut steps: Vec<Micros> = points
        .windows(2)
        .map(|pair| pair[1].0.since(pair[0].0))
        .filter(|step| *step > 0)
        .collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or(1)
}

struct Frame {
    x: Scale,
    y: Scale,
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn chart(points: &[(Timestamp, f64)]) -> Chart<'_> {
        Chart {
            points,
            unit: Some("°C"),
            threshold: Some(80.0),
            expected: Some((60.0, 75.0)),
            since: START,
            ended: None,
            level: Level::Critical,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        START.saturating_add(seconds * 1_000_000)
    }

    fn size_of(png: &[u8]) -> (u32, u32) {
        let decoder = png::Decoder::new(std::io::Cursor::new(png));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert!(pixels.iter().any(|byte| *byte != 255), "nothing was drawn");
        (info.width, info.height)
    }

    #[test]
    fn an_hour_is_drawn_and_always_the_same() {
        let points: Vec<_> = (0..500)
            .map(|n| (at(n * 7), 70.0 + (n as f64 / 20.0).sin() * 12.0))
            .collect();
        let png = chart(&points).to_png().unwrap();
        assert_eq!(size_of(&png), (WIDTH, HEIGHT));
        assert!(png.len() < 60_000, "{}", png.len());
        assert_eq!(chart(&points).to_png().unwrap(), png);
        let reversed: Vec<_> = points.iter().rev().copied().collect();
        assert_eq!(chart(&reversed).to_png().unwrap(), png);
    }

    #[test]
    fn whatever_the_points_are_it_is_drawn_or_there_is_none() {
        for points in [
            vec![],
            vec![(at(0), 1.0)],
            vec![(at(0), 1.0), (at(0), 2.0)],
            vec![(at(0), f64::NAN), (at(1), f64::INFINITY)],
        ] {
            assert_eq!(chart(&points).to_png(), None, "{points:?}");
        }
        for points in [
            vec![(at(0), 5.0), (at(1), 5.0)],
            vec![(at(0), 0.0), (at(3_600), 0.0)],
            vec![(at(0), 1e299), (at(1), -1e299)],
            vec![(at(0), f64::MIN_POSITIVE), (at(1), 2.0 * f64::MIN_POSITIVE)],
            vec![(Timestamp::MIN, 1.0), (Timestamp::MAX, 2.0)],
            vec![
                (at(0), 1.0),
                (at(1), 2.0),
                (at(3_000), 3.0),
                (at(3_001), f64::NAN),
            ],
        ] {
            for (threshold, expected) in [
                (None, None),
                (Some(f64::NAN), Some((f64::NEG_INFINITY, 1.0))),
                (Some(f64::MAX), Some((f64::MIN, f64::MAX))),
                (Some(1.5), Some((2.0, 1.0))),
            ] {
                let drawn = Chart {
                    threshold,
                    expected,
                    ended: Some(Timestamp::MIN),
                    unit: Some("\r\n<img>\u{202e}漢"),
                    ..chart(&points)
                };
                assert_eq!(size_of(&drawn.to_png().unwrap()), (WIDTH, HEIGHT), "{points:?}");
            }
        }
    }
}
