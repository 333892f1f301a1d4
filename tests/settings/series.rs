//! `[[series]]`: what is watched how.

use std::time::Duration;

use sensorhive::domain::Tags;
use sensorhive::settings::DetectorSettings;

use crate::load;

#[test]
fn the_first_matching_series_wins_and_yours_come_first() {
    let settings = load(
        "[[series]]\nmatch = { sensor = 'boiler-*', tags = { site = 'a*' } }\nwindows = ['10s']
         [[series]]\nmatch = { sensor = 'host', metric = 'cpu_usage' }",
    )
    .unwrap();
    let tags = |site: &str| Tags::from([("site".to_owned(), site.to_owned())]);
    let ten = [Duration::from_secs(10)];
    let minute = [Duration::from_secs(60)];
    assert_eq!(settings.series.find("boiler-7", "t", &tags("ab")).windows, ten);
    assert_eq!(settings.series.find("boiler-7", "t", &tags("b")).windows, minute);
    assert_eq!(
        settings.series.find("boiler-7", "t", &Tags::new()).windows,
        minute
    );
    assert_eq!(
        settings.series.find("host", "cpu_usage", &Tags::new()).detectors,
        []
    );
    let above = |limit| [DetectorSettings::Threshold { above: limit }];
    assert_eq!(
        settings
            .series
            .find("host", "memory_usage", &Tags::new())
            .detectors,
        above(85.0)
    );
    assert_eq!(
        settings
            .series
            .find("sensorhive", "error_rate", &Tags::new())
            .detectors,
        above(5.0)
    );
    let everything = load("[[series]]\nmatch = {}\nwindows = []").unwrap();
    assert!(
        everything
            .series
            .find("host", "cpu_usage", &Tags::new())
            .windows
            .is_empty()
    );
}
