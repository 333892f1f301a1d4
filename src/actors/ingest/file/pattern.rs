//! Which files a path with wildcards means.
//!
//! Invariants: only regular files, so that no pipe is ever opened; each component of the path is matched by itself.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// The most files of a source; more are not looked at.
pub const MAX_FILES: usize = 10_000;

/// Which file it is, whatever it is called at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A path whose components may have `*`, `?`, `[…]` and `{…}`.
#[derive(Debug, Clone)]
pub struct PathPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Plain(String),
    Glob(GlobMatcher),
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl PathPattern {
    /// The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let wild = |part: &str| part.contains(['*', '?', '[', '{']);
        let mut parts = Vec::new();
        for part in text.split('/') {
            if part.contains("**") {
                return Err("must not have `**`; a `*` stands for one directory".to_owned());
            }
            parts.push(match wild(part) {
                false => Part::Plain(part.to_owned()),
                true => {
                    let glob = GlobBuilder::new(part).literal_separator(true).build();
                    Part::Glob(
                        glob.map_err(|error| format!("is no pattern: {error}"))?
                            .compile_matcher(),
                    )
                }
            });
        }
        if matches!(parts.last(), Some(Part::Plain(last)) if last.is_empty()) {
            return Err("must be a file, not a directory".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// One that no file matches.
    pub fn none() -> Self {
        Self {
            text: String::new(),
            parts: Vec::new(),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What there is, each file once. A directory that cannot be read is an error; one that is not there has no files.
    pub fn files(&self) -> io::Result<BTreeMap<FileId, (PathBuf, Metadata)>> {
        let absolute = self.text.starts_with('/');
        let mut found = vec![PathBuf::from(if absolute { "/" } else { "" })];
        for part in &self.parts {
            let mut next = Vec::new();
            for path in found {
                match part {
                    Part::Plain(name) => next.push(path.join(name)),
                    Part::Glob(glob) => entries(&path, glob, &mut next)?,
                }
            }
            found = next;
        }
        let mut files = BTreeMap::new();
        for path in found {
            if files.len() == MAX_FILES {
                break;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    files.entry(FileId::of(&metadata)).or_insert((path, metadata));
                }
                Ok(_) => {}
                Err(error) if gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }
}

fn entries(directory: &Path, glob: &GlobMatcher, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let here = directory.as_os_str().is_empty();
    let entries = match fs::read_dir(if here { Path::new(".") } else { directory }) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if glob.is_match(&name) {
            names.push(name);
        }
    }
    names.sort();
    found.extend(names.into_iter().map(|name| directory.join(name)));
    Ok(())
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
