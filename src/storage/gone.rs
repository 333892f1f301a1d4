//! Days of which some readings lie in the cold archive alone: what was computed from all of them must not be computed again
//! from what is left.

use crate::domain::{Day, Timestamp, WindowSpan};

use super::archives::bound;

/// Such days, in any order.
#[derive(Debug, Default)]
pub(super) struct Gone(Vec<Day>);

impl Gone {
    /// Where to look for those that concern `spans`: from and to, as the catalog writes them.
    pub fn range<'a>(spans: impl Iterator<Item = &'a WindowSpan> + Clone) -> (String, String) {
        let first = spans.clone().map(first).min().unwrap_or(Day::MIN);
        let last = spans.map(last).max().unwrap_or(Day::MAX);
        (bound(first), bound(last))
    }

    /// As the catalog writes them.
    pub fn new(days: Vec<String>) -> Self {
        Self(days.iter().filter_map(|day| day.parse().ok()).collect())
    }

    /// Whether readings of `span` may be among what is gone.
    pub fn concern(&self, span: &WindowSpan) -> bool {
        self.0.iter().any(|day| (first(span)..=last(span)).contains(day))
    }
}

fn first(span: &WindowSpan) -> Day {
    Day::of(span.start)
}

fn last(span: &WindowSpan) -> Day {
    Day::of(Timestamp(span.end().0.saturating_sub(1)).max(span.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SeriesId, WindowKind};

    #[test]
    fn a_window_is_concerned_by_every_day_it_touches() {
        let day: Day = "2026-03-02".parse().unwrap();
        let gone = Gone::new(vec!["2026-03-02".to_owned()]);
        let span = |start: Timestamp, hours: i64| WindowSpan {
            series: SeriesId(1),
            kind: WindowKind::Tumbling,
            size: hours * 3_600_000_000,
            start,
        };
        let before = |hours: i64| day.start().saturating_sub(hours * 3_600_000_000);
        assert!(!gone.concern(&span(before(1), 1)));
        assert!(gone.concern(&span(before(1), 2)));
        assert!(gone.concern(&span(before(48), 24 * 7)));
        assert!(gone.concern(&span(day.start(), 24)));
        assert!(!gone.concern(&span(day.end(), 24)));
        let spans = [span(before(1), 2), span(day.end(), 24)];
        let range = Gone::range(spans.iter());
        assert_eq!(range, ("2026-03-01".to_owned(), "2026-03-03".to_owned()));
    }
}
