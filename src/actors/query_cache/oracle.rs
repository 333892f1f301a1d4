//! The cache against brute force: random commits, questions, slow readings, deletions and new series, over a database that is
//! a list. What is given again must be what is stored, but for what nobody was told of yet.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};

use super::{Asked, Limits, QueryCache, RELATIVE_LIFE, Reading as ReadingFor, Rows};
use crate::actors::registry::{HomeId, Registry, RegistryLimits};
use crate::domain::*;
use crate::metrics::Metrics;
use crate::storage::{
    CommitGroup, CommitReport, CompleteBatch, InstanceId, Numbers, Row, SensorDefinition, SliceOutcome,
};

pub(super) const LIFE: Micros = 3_000_000;
/// Room for a few answers, of which some are too large.
pub(super) const BYTES: u64 = 9_000;
/// What times are multiples of.
const STEP: Micros = 250_000;

/// A reading that is stored, by series and time.
pub(super) type Stored = (u32, i64);

#[derive(Debug, Clone, Copy)]
struct Question {
    /// Bits: series 0 and 1; there is one more.
    series: u8,
    /// Absolute, or before now.
    relative: bool,
    from: i64,
    to: i64,
}

#[derive(Debug, Clone)]
enum Step {
    Ask(Question),
    /// Somebody begins to read, and takes his time.
    Begin(Question),
    Read(usize),
    Finish(usize),
    Leave(usize),
    /// In the database; nobody is told.
    Commit(Vec<(u32, i64)>),
    Acknowledge,
    Delete(i64),
    Name,
    /// Another instance has made a sensor.
    Learn,
    Wait(i64),
}

fn question() -> impl Strategy<Value = Question> {
    (1_u8..4, any::<bool>(), -2_i64..1, 1_i64..3).prop_map(|(series, relative, from, length)| Question {
        series,
        relative,
        from: if relative { from.min(-1) * 2 } else { from * 2 },
        to: if relative { 0 } else { (from + length) * 2 },
    })
}

fn step() -> impl Strategy<Value = Step> {
    let commit = prop::collection::vec((0_u32..3, -8_i64..8), 1..3).prop_map(Step::Commit);
    prop_oneof![
        8 => question().prop_map(Step::Ask),
        3 => question().prop_map(Step::Begin),
        4 => (0_usize..2).prop_map(Step::Read),
        2 => (0_usize..2).prop_map(Step::Finish),
        1 => (0_usize..2).prop_map(Step::Leave),
        3 => commit,
        3 => Just(Step::Acknowledge),
        1 => (-8_i64..0).prop_map(Step::Delete),
        1 => Just(Step::Name),
        1 => Just(Step::Learn),
        3 => (0_i64..4).prop_map(Step::Wait),
    ]
}

/// What an answer says, and about when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    /// How many sensors there were.
    names: usize,
    asked: i64,
    found: BTreeSet<Stored>,
    /// How much had been acknowledged when the database was read.
    told: usize,
}

struct Slow {
    question: Question,
    asked: Asked,
    reading: ReadingFor,
    answer: Option<Answer>,
    /// Who waits for it, since when, and what had been acknowledged by then.
    waiting: Vec<(Timestamp, BTreeSet<Stored>)>,
}

pub(super) struct World {
    pub cache: Arc<QueryCache>,
    pub registry: Arc<Registry>,
    now: i64,
    stored: BTreeSet<Stored>,
    acknowledged: BTreeSet<Stored>,
    /// Everything that ever was, in order.
    log: Vec<Stored>,
    untold: Vec<Stored>,
    slow: Vec<Slow>,
    named: u32,
    hits: u32,
    joins: u32,
}

impl World {
    pub fn new() -> Self {
        let limits = RegistryLimits {
            sensors: 1_000,
            series_per_sensor: 10,
        };
        let registry = Arc::new(Registry::new(limits, 1, Vec::new(), Vec::new()));
        registry.add_numbers(Numbers {
            sensors: 1..1_000,
            series: 1..1_000,
        });
        let limits = Limits {
            bytes: BYTES,
            life: LIFE,
        };
        let cache = QueryCache::new(limits, registry.clone(), Arc::new(Metrics::default()));
        Self {
            cache: Arc::new(cache),
            registry,
            now: 1_000 * STEP,
            stored: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            log: Vec::new(),
            untold: Vec::new(),
            slow: Vec::new(),
            named: 0,
            hits: 0,
            joins: 0,
        }
    }

    fn sensor(&self) -> SensorId {
        SensorId::parse(&format!("s{}", self.named)).unwrap()
    }

    fn asked(&self, question: Question) -> Asked {
        let base = if question.relative { self.now } else { 1_000 * STEP };
        Asked {
            key: format!("{question:?}").into_bytes().into(),
            rows: Rows::Readings,
            from: Timestamp(base + question.from * STEP),
            to: Timestamp(base + question.to * STEP),
            relative: question.relative,
            now: Timestamp(self.now),
        }
    }

    fn read(&self, question: Question, asked: &Asked) -> Answer {
        Answer {
            names: self.registry.size().0,
            asked: asked.now.0,
            found: of(&self.stored, question, asked),
            told: self.log.len(),
        }
    }

    fn begin(&mut self, question: Question, asked: Asked) {
        let reading = self.cache.begin(&asked);
        reading.watch((0..4).filter(|bit| question.series >> bit & 1 == 1).map(SeriesId));
        self.slow.push(Slow {
            question,
            asked,
            reading,
            answer: None,
            waiting: Vec::new(),
        });
    }

    /// Fails unless the answer may be given to whoever asks this, and had heard of `told`.
    fn check(&self, question: Question, asked: &Asked, told: &BTreeSet<Stored>, answer: &Answer, life: i64) {
        let age = asked.now.0 - answer.asked;
        assert!((0..life).contains(&age), "{age} µs old: {question:?}");
        let first = Asked {
            from: asked.from.saturating_sub(if asked.relative { age } else { 0 }),
            to: asked.to.saturating_sub(if asked.relative { age } else { 0 }),
            ..asked.clone()
        };
        for missing in of(told, question, asked).difference(&answer.found) {
            // It was not yet within the range that was asked for first.
            assert!(
                asked.relative && self.log[..answer.told].contains(missing) && missing.1 >= first.to.0,
                "{missing:?} is missing: {question:?} {answer:?}"
            );
        }
        let wrong: Vec<_> = answer
            .found
            .difference(&of(&self.stored, question, &first))
            .copied()
            .collect();
        assert!(wrong.is_empty(), "{wrong:?} is not stored: {question:?}");
    }

    fn ask(&mut self, question: Question) {
        let asked = self.asked(question);
        let life = if question.relative { RELATIVE_LIFE } else { LIFE };
        if let Some(answer) = self.cache.get(&asked) {
            let answer: Answer = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer.names, self.registry.size().0, "{question:?}");
            self.check(question, &asked, &self.acknowledged, &answer, life);
            self.hits += 1;
            return;
        }
        let other = self
            .slow
            .iter_mut()
            .rev()
            .find(|slow| slow.asked.key == asked.key);
        if let Some(other) = other
            && self.cache.join(other.reading.id(), asked.now)
        {
            other.waiting.push((asked.now, self.acknowledged.clone()));
            self.joins += 1;
            return;
        }
        self.begin(question, asked);
        self.finish(self.slow.len() - 1);
    }

    fn finish(&mut self, at: usize) {
        let slow = self.slow.remove(at);
        let answer = slow
            .answer
            .unwrap_or_else(|| self.read(slow.question, &slow.asked));
        slow.reading
            .keep(Bytes::from(serde_json::to_vec(&answer).unwrap()));
        for (now, told) in slow.waiting {
            let told = told.intersection(&self.stored).copied().collect();
            let relative = slow.asked.relative;
            let moved = if relative { now.0 - slow.asked.now.0 } else { 0 };
            let asked = Asked {
                now,
                from: slow.asked.from.saturating_add(moved),
                to: slow.asked.to.saturating_add(moved),
                ..slow.asked.clone()
            };
            // What was deleted while it was being read may still be in it.
            let stays = answer.found.intersection(&self.stored).copied().collect();
            let answer = Answer {
                found: stays,
                ..answer.clone()
            };
            self.check(
                slow.question,
                &asked,
                &told,
                &answer,
                if relative { RELATIVE_LIFE } else { LIFE },
            );
        }
    }

    fn acknowledge(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let rows = self.untold.drain(..).collect::<Vec<_>>();
        self.cache.committed(&group(&rows), &CommitReport::default());
        self.acknowledged.extend(&rows);
        self.log.extend(rows);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask(question) => self.ask(question),
            Step::Begin(question) => {
                let asked = self.asked(question);
                if self.slow.len() < 2 {
                    self.begin(question, asked);
                }
            }
            Step::Read(at) if at < self.slow.len() => {
                let slow = &self.slow[at];
                let answer = self.read(slow.question, &slow.asked);
                self.slow[at].answer.get_or_insert(answer);
            }
            Step::Finish(at) if at < self.slow.len() => self.finish(at),
            Step::Leave(at) if at < self.slow.len() => drop(self.slow.remove(at)),
            Step::Read(_) | Step::Finish(_) | Step::Leave(_) => {}
            Step::Commit(rows) => {
                self.acknowledge();
                let now = self.now;
                self.untold = rows
                    .into_iter()
                    .map(|(series, at)| (series, now + at * STEP))
                    .collect();
                self.stored.extend(&self.untold);
            }
            Step::Acknowledge => self.acknowledge(),
            Step::Delete(before) => {
                self.acknowledge();
                let before = self.now + before * STEP;
                self.stored.retain(|(_, time)| *time >= before);
                self.acknowledged.retain(|(_, time)| *time >= before);
                self.cache.forget();
            }
            Step::Name => {
                self.named += 1;
                let (sensor, metric) = (self.sensor(), MetricName::parse("t").unwrap());
                let resolved = self.registry.resolve(&sensor, &metric, None, None, HomeId::NONE);
                resolved.unwrap();
            }
            Step::Learn => {
                self.named += 1;
                let sensor = SensorDefinition {
                    key: SensorKey(1_000 + self.named),
                    id: self.sensor(),
                    tags: Tags::new(),
                    home: None,
                };
                self.registry.refresh(vec![sensor], Vec::new());
            }
            Step::Wait(steps) => self.now += steps * STEP,
        }
        assert!(self.cache.table.lock().bytes() <= BYTES);
    }
}

fn of(stored: &BTreeSet<Stored>, question: Question, asked: &Asked) -> BTreeSet<Stored> {
    let range = asked.from.0..asked.to.0;
    let asked_for = |(series, time): &Stored| question.series >> series & 1 == 1 && range.contains(time);
    stored.iter().copied().filter(asked_for).collect()
}

pub(super) fn group(rows: &[Stored]) -> CommitGroup {
    let rows = rows.iter().map(|(series, time)| Row {
        sensor: SensorKey(1),
        reading: Reading {
            series: SeriesId(*series),
            time: Timestamp(*time),
            value: 0.0,
            index: 0,
            flags: Flags::NONE,
        },
    });
    of_outcome(SliceOutcome {
        rows: rows.collect(),
        ..SliceOutcome::default()
    })
}

pub(super) fn of_outcome(outcome: SliceOutcome) -> CommitGroup {
    let batch = CompleteBatch {
        number: BatchNumber(1),
        at: BatchTime {
            now: Timestamp(0),
            active: ActiveTime(0),
        },
        source: SourceName::parse("test").unwrap(),
        sensors: Vec::new(),
        series: Vec::new(),
        positions: Vec::new(),
        arrivals: Vec::new(),
        source_ledger: LedgerDelta::default(),
        dead_letters: Vec::new(),
        outcomes: vec![outcome],
    };
    CommitGroup {
        instance: InstanceId("test".into()),
        batches: vec![batch],
    }
}

#[test]
fn what_is_given_again_is_what_is_stored() {
    let cases = 512;
    let (hits, joins) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let steps = prop::collection::vec(step(), 1..200);
    let run = runner.run(&steps, |steps| {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.slow.clear();
        world.cache.forget();
        prop_assert!(!world.cache.interest.any(), "nothing is watched for nobody");
        prop_assert!((0..4).all(|series| !world.cache.interest.about(SeriesId(series))));
        hits.set(hits.get() + world.hits);
        joins.set(joins.get() + world.joins);
        Ok(())
    });
    run.unwrap();
    // Otherwise it would say nothing.
    assert!(
        hits.get() > cases && joins.get() > cases / 8,
        "{hits:?} {joins:?}"
    );
}
