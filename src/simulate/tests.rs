//! The same seed gives the same world, and faults are what they say.

use std::collections::HashMap;

use super::*;
use crate::decode::{Hints, JsonMapping, Refusal, Sink, decode_json, range};
use crate::domain::RejectReason;

const START: Timestamp = Timestamp(1_730_332_800_000_000);

fn simulate(settings: SimulatorSettings, readings: usize) -> Vec<SimulatedReading> {
    Simulator::new(settings, START).unwrap().take(readings).collect()
}

/// One device, one fault, no spikes, one reading a second for three hours.
fn suffering_from(fault: Fault) -> Vec<SimulatedReading> {
    let settings = SimulatorSettings {
        sensors: 1,
        rate: 1.0,
        spike_probability: 0.0,
        faults: Faults::NONE.with(fault),
        ..Default::default()
    };
    let readings = simulate(settings, 10_000);
    let labelled = readings
        .iter()
        .filter(|reading| reading.labels.has(fault))
        .count();
    assert!((10..9_000).contains(&labelled), "{fault}: {labelled} labelled");
    readings
}

fn bytes(seed: u64, label: bool) -> Vec<u8> {
    let settings = SimulatorSettings {
        seed,
        faults: Fault::ALL.into_iter().collect(),
        ..Default::default()
    };
    let mut out = Vec::new();
    for reading in simulate(settings, 50_000) {
        reading.encode(label, &mut out);
        out.push(b'\n');
    }
    out
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    assert!(bytes(7, true) == bytes(7, true));
    assert!(bytes(7, true) != bytes(8, true));
}

#[test]
fn labels_are_sent_only_when_asked_for() {
    let text = |label| String::from_utf8(bytes(7, label)).unwrap();
    assert!(!text(false).contains("tags"));
    for fault in Fault::ALL {
        assert!(
            text(true).contains(&format!("\"tags\":{{\"label\":\"{fault}\"}}")),
            "{fault}"
        );
    }
}

#[test]
fn readings_come_at_the_rate_from_every_device_in_turn() {
    let settings = SimulatorSettings {
        sensors: 40,
        rate: 1_000.0,
        ..Default::default()
    };
    let readings = simulate(settings, 4_001);
    assert_eq!(readings[0].sensor_id(), "sim-000001");
    assert_eq!(readings[39].sensor_id(), "sim-000040");
    assert_eq!(readings[4_000].due, START.saturating_add(4_000_000));
    assert!(readings.iter().all(|reading| reading.time == reading.due));
}

#[test]
fn a_healthy_device_is_at_20_degrees_give_or_take_2_but_for_its_spikes() {
    let readings = simulate(SimulatorSettings::default(), 100_000);
    let spikes = readings
        .iter()
        .filter(|reading| reading.labels.has(Fault::Spike))
        .count();
    assert!((1_800..2_200).contains(&spikes), "{spikes} of 100,000");
    for reading in readings {
        let off = (reading.value - 20.0).abs();
        match reading.labels.has(Fault::Spike) {
            true => assert!((13.0..=17.0).contains(&off), "{reading:?}"),
            false => assert!(off <= 2.0, "{reading:?}"),
        }
    }
}

#[test]
fn due_times_never_go_back() {
    let settings = SimulatorSettings {
        faults: Fault::ALL.into_iter().collect(),
        ..Default::default()
    };
    assert!(simulate(settings, 100_000).is_sorted_by_key(|reading| reading.due));
}

#[test]
fn most_devices_stay_healthy() {
    let settings = SimulatorSettings {
        spike_probability: 0.0,
        faults: Fault::ALL.into_iter().collect(),
        ..Default::default()
    };
    let mut labels: HashMap<u32, Faults> = HashMap::new();
    for reading in simulate(settings, 200_000) {
        let seen = labels.entry(reading.device).or_default();
        *seen = seen.iter().chain(reading.labels.iter()).collect();
    }
    let ill: Vec<_> = labels.values().filter(|labels| !labels.is_empty()).collect();
    assert_eq!((labels.len(), ill.len()), (200, 80));
    assert!(ill.iter().all(|labels| labels.iter().count() == 1));
}

#[test]
fn drift_moves_away_and_comes_back() {
    let mut farthest = 0.0_f64;
    for reading in suffering_from(Fault::Drift) {
        let off = (reading.value - 20.0).abs();
        match reading.labels.has(Fault::Drift) {
            true => farthest = farthest.max(off),
            false => assert!(off <= 2.0, "{reading:?}"),
        }
    }
    assert!((5.0..=14.0).contains(&farthest), "{farthest}");
}

#[test]
fn the_first_episode_comes_within_a_minute() {
    let readings = suffering_from(Fault::Drift);
    let first = readings
        .iter()
        .find(|reading| reading.labels.has(Fault::Drift))
        .unwrap();
    assert!((10_000_000..=60_000_000).contains(&first.due.since(START)));
}

#[test]
fn stuck_repeats_the_last_value_at_new_times() {
    for pair in suffering_from(Fault::Stuck).windows(2) {
        if pair[1].labels.has(Fault::Stuck) {
            assert!(pair[1].value == pair[0].value && pair[1].time > pair[0].time);
        }
    }
}

#[test]
fn silence_is_a_gap_before_its_label_and_nowhere_else() {
    for pair in suffering_from(Fault::Silence).windows(2) {
        let gap = pair[1].time.since(pair[0].time);
        match pair[1].labels.has(Fault::Silence) {
            true => assert!((30_000_000..=121_000_000).contains(&gap), "{gap}"),
            false => assert_eq!(gap, 1_000_000),
        }
    }
}

#[test]
fn a_duplicate_is_equal_to_a_reading_before() {
    let mut seen = HashMap::new();
    for reading in suffering_from(Fault::Duplicates) {
        let earlier = seen.insert(reading.time, reading.value);
        let expected = reading.labels.has(Fault::Duplicates).then_some(reading.value);
        assert_eq!(earlier, expected);
    }
}

#[test]
fn what_is_held_up_arrives_after_its_time_and_nothing_else_does() {
    for (fault, held) in [
        (Fault::Disorder, 1_500_000..=1_500_000),
        (Fault::Late, 120_000_000..=600_000_000),
    ] {
        for reading in suffering_from(fault) {
            let by = reading.due.since(reading.time);
            match reading.labels.has(fault) {
                true => assert!(held.contains(&by), "{fault}: {by}"),
                false => assert_eq!(by, 0),
            }
        }
    }
}

#[derive(Default)]
struct Counts {
    readings: usize,
    refused: Vec<String>,
    too_late: usize,
}

impl<'a> Sink<'a> for Counts {
    fn reading(&mut self, draft: Draft<'a>) {
        let now = START.saturating_add(86_400_000_000);
        match range::check(draft.time.unwrap(), now, &range::TimeRange::default()) {
            Ok(()) => self.readings += 1,
            Err(_) => self.too_late += 1,
        }
    }

    fn refuse(&mut self, refusal: Refusal<'a>) {
        assert_eq!(refusal.kind, RejectReason::Invalid);
        self.refused.push(refusal.field.into_owned());
    }
}

#[test]
fn the_decoder_takes_what_is_sent_and_refuses_what_is_no_number_or_far_ahead() {
    let settings = SimulatorSettings {
        faults: Fault::ALL.into_iter().collect(),
        ..Default::default()
    };
    let readings = simulate(settings, 50_000);
    let mut counts = Counts::default();
    for reading in &readings {
        let mut payload = Vec::new();
        reading.encode(true, &mut payload);
        decode_json(&payload, Hints::default(), &JsonMapping::default(), &mut counts);
    }
    let labelled = |fault| {
        readings
            .iter()
            .filter(|reading| reading.labels.has(fault))
            .count()
    };
    let (nan, far) = (labelled(Fault::Nan), labelled(Fault::FarFuture));
    assert!(nan > 50 && far > 50);
    assert_eq!(counts.refused, vec!["value"; nan]);
    assert_eq!((counts.too_late, counts.readings), (far, 50_000 - nan - far));
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |settings| Simulator::new(settings, START).err().unwrap().to_string();
    let settings = SimulatorSettings::default;
    assert!(
        refused(SimulatorSettings {
            sensors: 0,
            ..settings()
        })
        .starts_with("sensors")
    );
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
        assert!(refused(SimulatorSettings { rate, ..settings() }).starts_with("rate"));
    }
    for spike_probability in [-0.1, 1.1, f64::NAN] {
        let settings = SimulatorSettings {
            spike_probability,
            ..settings()
        };
        assert!(refused(settings).starts_with("spike_probability"));
    }
}
