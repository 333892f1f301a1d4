//! Files as they are written, rotated and lost, against a real directory.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const MAX_LINE: usize = 2 << 20;

/// A directory, what follows it, and what a database would have of that.
struct World {
    directory: TempDir,
    tail: Tail,
    database: HashMap<String, i64>,
    now: Instant,
    pattern: String,
}

impl World {
    fn new(pattern: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pattern = format!("{}/{pattern}", directory.path().display());
        Self {
            tail: tail(&pattern),
            directory,
            database: HashMap::new(),
            now: Instant::now(),
            pattern,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn compress(&self, from: &str, to: &str) {
        let mut encoder = GzEncoder::new(fs::File::create(self.path(to)).unwrap(), Compression::fast());
        encoder.write_all(&fs::read(self.path(from)).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(self.path(from)).unwrap();
    }

    /// As a killed process comes back: what was not stored is forgotten.
    fn crash(&mut self) {
        self.tail = tail(&self.pattern);
    }

    fn later(&mut self) {
        self.now += Duration::from_secs(100);
    }

    fn settle(&mut self, at_end: bool) {
        for beginning in self.tail.look(self.now).unwrap() {
            let mut slots = Vec::new();
            loop {
                let id = SlotId {
                    beginning,
                    number: slots.len(),
                };
                let Some(position) = self.database.get(&id.position()) else {
                    break;
                };
                slots.push(Slot {
                    position: *position as u64,
                    check: self.database[&id.check()] as u32,
                    holder: None,
                });
            }
            self.tail.learn(beginning, slots);
        }
        self.tail.settle(at_end);
    }

    /// One look, and everything that is new then, as lines; long ones by their lengths.
    fn read(&mut self) -> Vec<String> {
        self.settle(false);
        let mut lines = Vec::new();
        loop {
            let pieces = self.tail.take();
            if pieces.is_empty() {
                return lines;
            }
            for piece in &pieces {
                lines.extend(self.store(piece));
            }
        }
    }

    fn store(&mut self, piece: &Piece) -> Vec<String> {
        let (position, check) = piece.after(piece.lines.len());
        let slot = piece.slot.unwrap();
        for (slot, position, check) in self.tail.places(&[(slot, position, check)]) {
            self.database.insert(slot.position(), position as i64);
            self.database.insert(slot.check(), i64::from(check));
        }
        self.tail.stored(slot, position, check);
        let text = |line: &piece::Line| match line.too_long {
            Some(length) => format!("{length} bytes"),
            None => String::from_utf8_lossy(&piece.bytes[line.range.clone()]).into_owned(),
        };
        piece.lines.iter().map(text).collect()
    }
}

fn tail(pattern: &str) -> Tail {
    Tail::new(TailOptions {
        pattern: PathPattern::parse(pattern).unwrap(),
        max_line: MAX_LINE,
        csv: None,
    })
}

#[test]
fn whole_lines_are_read_once_whatever_their_ends() {
    let mut world = World::new("a.log");
    assert!(world.read().is_empty());
    world.append("a.log", "\u{feff}one\r\ntwo\n\nthr");
    assert_eq!(world.read(), ["one", "two", ""]);
    assert!(world.read().is_empty());
    world.append("a.log", "ee\n\u{feff}four\n");
    assert_eq!(world.read(), ["three", "\u{feff}four"]);
    world.crash();
    assert!(world.read().is_empty());
    world.append("a.log", "five\n");
    assert_eq!(world.read(), ["five"]);
    assert_eq!(world.tail.status()[0].position, world.tail.status()[0].size);
}

#[test]
fn what_was_not_stored_is_read_again() {
    let mut world = World::new("a.log");
    world.append("a.log", "one\ntwo\n");
    world.settle(false);
    assert_eq!(world.tail.take()[0].lines.len(), 2);
    world.crash();
    assert_eq!(world.read(), ["one", "two"]);
}

#[test]
fn a_renamed_file_goes_on_and_a_new_one_under_its_name_begins() {
    let mut world = World::new("a.log*");
    world.append("a.log", "one\n");
    assert_eq!(world.read(), ["one"]);
    world.append("a.log", "two\n");
    world.rename("a.log", "a.log.1");
    world.append("a.log", "three\n");
    world.append("a.log.1", "late\n");
    let mut lines = world.read();
    lines.sort();
    assert_eq!(lines, ["late", "three", "two"]);
    // Also if all of it happens while nobody looks.
    world.append("a.log", "four\n");
    world.rename("a.log", "a.log.2");
    world.append("a.log", "five\n");
    world.crash();
    let mut lines = world.read();
    lines.sort();
    assert_eq!(lines, ["five", "four"]);
}

#[test]
fn a_file_that_leaves_the_pattern_is_read_to_its_end() {
    let mut world = World::new("a.log");
    world.append("a.log", "one\n");
    assert_eq!(world.read(), ["one"]);
    world.append("a.log", "two\n");
    world.rename("a.log", "away");
    world.append("a.log", "new\n");
    let mut lines = world.read();
    lines.sort();
    assert_eq!(lines, ["new", "two"]);
    world.append("away", "late\n");
    assert_eq!(world.read(), ["late"]);
    world.later();
    assert!(world.read().is_empty());
    world.append("away", "too late\n");
    assert!(world.read().is_empty());
}

#[test]
fn a_file_that_is_copied_and_emptied_is_read_on_in_its_copy() {
    let mut world = World::new("a.log*");
    world.append("a.log", "one\n");
    assert_eq!(world.read(), ["one"]);
    world.append("a.log", "two\n");
    fs::copy(world.path("a.log"), world.path("a.log.1")).unwrap();
    // In between, the copy is none of its own.
    assert_eq!(world.read(), ["two"]);
    world.append("a.log", "lost to the copy\n");
    fs::copy(world.path("a.log"), world.path("a.log.1")).unwrap();
    fs::write(world.path("a.log"), "three\n").unwrap();
    let mut lines = world.read();
    lines.sort();
    assert_eq!(lines, ["lost to the copy", "three"]);
    assert!(world.read().is_empty());
}

#[test]
fn of_a_file_and_its_copy_the_one_that_grows_is_read() {
    let mut world = World::new("a.log*");
    world.append("a.log", "one\ntwo\n");
    assert_eq!(world.read(), ["one", "two"]);
    fs::copy(world.path("a.log"), world.path("a.log.bak")).unwrap();
    world.crash();
    assert!(world.read().is_empty());
    world.append("a.log", "three\n");
    assert_eq!(world.read(), ["three"]);
    assert!(world.read().is_empty());
    world.append("a.log.bak", "other\n");
    world.append("a.log", "four\n");
    let mut lines = world.read();
    lines.extend(world.read());
    lines.sort();
    assert!(
        lines.contains(&"four".to_owned()) && lines.contains(&"other".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn a_file_that_is_emptied_between_a_look_and_a_read_is_not_read_as_what_it_was() {
    let mut world = World::new("a.log");
    world.append("a.log", "one 1\n");
    assert_eq!(world.read(), ["one 1"]);
    world.append("a.log", "one 2\n");
    world.settle(false);
    // As long as before, so that the position fits.
    fs::write(world.path("a.log"), "two 1\ntwo 2\ntwo 3\n").unwrap();
    assert!(world.tail.take().is_empty());
    assert_eq!(world.read(), ["two 1", "two 2", "two 3"]);
}

#[test]
fn a_file_that_is_written_anew_is_another_one() {
    let mut world = World::new("a.log");
    world.append("a.log", "start\none\n");
    assert_eq!(world.read(), ["start", "one"]);
    // Shorter, longer, and with the same beginning.
    for text in [
        "start\n",
        "another one\n",
        "head\ntwo\nthree\n",
        "head\ntwo, or so\nthree, four, five\n",
    ] {
        fs::write(world.path("a.log"), text).unwrap();
        // A file system may keep times that are coarse.
        let changed = std::time::UNIX_EPOCH + Duration::from_secs(text.len() as u64);
        fs::File::options()
            .write(true)
            .open(world.path("a.log"))
            .unwrap()
            .set_modified(changed)
            .unwrap();
        assert_eq!(world.read(), text.lines().collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn a_compressed_file_has_what_was_not_read_of_the_plain_one() {
    let mut world = World::new("a.log*");
    world.append("a.log", "one\ntwo\n");
    assert_eq!(world.read(), ["one", "two"]);
    world.crash();
    world.append("a.log", "three\nno end");
    world.compress("a.log", "a.log.1.gz");
    assert_eq!(world.read(), ["three", "no end"]);
    assert!(world.read().is_empty());
    world.crash();
    assert!(world.read().is_empty());
    // One of which nothing was read.
    world.append("b", "four\n");
    world.compress("b", "a.log.2.gz");
    assert_eq!(world.read(), ["four"]);
    // One that is not whole yet.
    world.append("b", "five\nsix\n");
    world.compress("b", "c");
    let whole = fs::read(world.path("c")).unwrap();
    world.append("a.log.3.gz", &whole[..12]);
    assert!(world.read().is_empty());
    world.append("a.log.3.gz", &whole[12..]);
    assert_eq!(world.read(), ["five", "six"]);
}

#[test]
fn files_that_begin_alike_are_told_apart() {
    let mut world = World::new("*.log");
    world.append("a.log", "head\na1\n");
    assert_eq!(world.read(), ["head", "a1"]);
    world.append("b.log", "head\nb1\n");
    assert_eq!(world.read(), ["head", "b1"]);
    world.crash();
    world.append("a.log", "a2\n");
    world.append("b.log", "b2\n");
    let mut lines = world.read();
    lines.sort();
    assert_eq!(lines, ["a2", "b2"]);
}

#[test]
fn of_files_that_begin_alike_any_may_be_stored_first() {
    let mut world = World::new("*.log");
    world.append("a.log", "head\na1\n");
    world.append("b.log", "head\nb1\n");
    world.settle(false);
    let pieces = world.tail.take();
    let second = pieces
        .iter()
        .find(|piece| piece.slot.unwrap().number == 1)
        .unwrap();
    let stored = world.store(second);
    world.crash();
    let left = world.read();
    assert_eq!((left.len(), stored.len()), (2, 2));
    assert_ne!(left[1], stored[1]);
    world.crash();
    assert!(world.read().is_empty());
}

#[test]
fn a_line_that_is_too_long_is_given_once_by_its_beginning() {
    let mut world = World::new("a.log");
    let long = "x".repeat(3 * MAX_LINE);
    world.append("a.log", format!("one\n{long}"));
    assert_eq!(world.read(), ["one"]);
    assert!(world.read().is_empty());
    world.append("a.log", format!("{long}\ntwo\n{}\n", &long[..MAX_LINE]));
    let lines = world.read();
    assert_eq!(lines[..2], [format!("{} bytes", 6 * MAX_LINE), "two".to_owned()]);
    assert_eq!(lines[2].len(), MAX_LINE);
    world.crash();
    assert!(world.read().is_empty());
    world.append("a.log", format!("{}\n", &long[..=MAX_LINE]));
    assert_eq!(world.read(), [format!("{} bytes", MAX_LINE + 1)]);
}

#[test]
fn what_was_there_before_may_be_left_out() {
    let mut world = World::new("*.log");
    world.append("a.log", "old\nolder\nbroken");
    world.append("b.log", "old b\n");
    world.settle(true);
    assert!(world.tail.take().is_empty());
    for (id, slot) in world.tail.positions() {
        world.database.insert(id.position(), slot.position as i64);
        world.database.insert(id.check(), i64::from(slot.check));
    }
    world.crash();
    world.append("a.log", " line\nnew\n");
    world.append("c.log", "new c\n");
    let mut lines = world.read();
    lines.sort();
    assert_eq!(lines, ["broken line", "new", "new c"]);
}

#[test]
fn nothing_but_files_is_opened() {
    let mut world = World::new("[ab]*/{x,y}?.log");
    fs::create_dir_all(world.path("a1/x1.log")).unwrap();
    fs::create_dir_all(world.path("b2")).unwrap();
    fs::create_dir_all(world.path("c")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(world.path("b2/x2.log"))
        .status();
    assert!(made.unwrap().success());
    world.append("b2/y3.log", "one\n");
    world.append("c/y3.log", "none\n");
    assert_eq!(world.read(), ["one"]);
    for wrong in ["", "a/", "a/**/b", "a[", "{"] {
        assert!(PathPattern::parse(wrong).is_err(), "{wrong}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Break,
    Rename,
    Copy,
    Compress,
    Read,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..5).prop_map(Step::Write),
        1 => Just(Step::Break),
        1 => Just(Step::Rename),
        1 => Just(Step::Copy),
        1 => Just(Step::Compress),
        3 => Just(Step::Read),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Lines are written, and files rotated in every way, between any looks and crashes.
    #[test]
    fn each_line_is_read_once(steps in steps()) {
        let mut world = World::new("a.log*");
        let (mut written, mut read, mut rotated) = (0, Vec::new(), 0);
        let mut broken = false;
        for step in steps {
            match step {
                Step::Write(count) => {
                    for _ in 0..count {
                        world.append("a.log", if broken { " end\n".to_owned() } else { format!("line {written}\n") });
                        written += usize::from(!broken);
                        broken = false;
                    }
                }
                Step::Break if !broken => {
                    world.append("a.log", format!("line {written}"));
                    (written, broken) = (written + 1, true);
                }
                Step::Rename | Step::Copy | Step::Compress if !broken && world.path("a.log").exists() => {
                    rotated += 1;
                    let to = format!("a.log.{rotated}");
                    match step {
                        Step::Rename => world.rename("a.log", &to),
                        Step::Copy => {
                            fs::copy(world.path("a.log"), world.path(&to)).unwrap();
                            fs::write(world.path("a.log"), "").unwrap();
                        }
                        _ => {
                            world.rename("a.log", &to);
                            world.compress(&to, &format!("{to}.gz"));
                        }
                    }
                }
                Step::Read => read.extend(world.read()),
                Step::Crash => world.crash(),
                _ => {}
            }
        }
        if broken {
            world.append("a.log", "\n");
        }
        // A compressed one waits until the plain one is not followed any more.
        for _ in 0..3 {
            world.later();
            read.extend(world.read());
        }
        let mut numbers: Vec<usize> = read
            .iter()
            .map(|line| line.trim_start_matches("line ").trim_end_matches(" end").parse().unwrap())
            .collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..written).collect::<Vec<_>>());
    }
}
