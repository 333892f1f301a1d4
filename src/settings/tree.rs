//! The layers of the configuration as one tree, in which every node knows its key and where it was written.
//!
//! Invariants: a later layer replaces an earlier one key by key; a list is replaced whole, except `series`, whose later
//! entries go before the earlier ones because the first match wins. A node is identified by its key and its origin.

use std::collections::BTreeMap;
use std::path::Path;

use config::{File, FileFormat, Source, Value, ValueKind};

use super::problem::{Origin, Problem};

/// The prefix of environment variables; sections and keys follow, each after two underscores.
pub const ENVIRONMENT_PREFIX: &str = "SENSORHIVE";

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub key: String,
    pub origin: Origin,
    pub content: Content,
    /// Keys that were wrong, were reported and taken out; that they are missing now is no news.
    pub removed: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

/// Reads a file that is compiled in.
pub(super) fn preset(text: &str, origin: Origin) -> Result<Node, Problem> {
    layer(&File::from_str(text, FileFormat::Toml), origin)
}

pub(super) fn file(path: &Path) -> Result<Node, Problem> {
    let origin = Origin::File(path.to_owned());
    // Read here, because the library turns "is a directory" and "permission denied" into "not found".
    let text = std::fs::read_to_string(path).map_err(|error| Problem {
        key: String::new(),
        origin: origin.clone(),
        message: format!("cannot be read: {error}"),
    })?;
    preset(&text, origin)
}

fn layer(source: &impl Source, origin: Origin) -> Result<Node, Problem> {
    match source.collect() {
        Ok(table) => Ok(Node::new(String::new(), &origin, ValueKind::Table(table))),
        Err(error) => Err(Problem {
            key: String::new(),
            origin,
            message: format!("is not TOML: {}", error.to_string().trim_end()),
        }),
    }
}

/// Reads variables such as `SENSORHIVE__HTTP__LISTEN`. A value that opens with `[` or `{` is read as TOML.
pub(super) fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Node {
    let prefix = format!("{ENVIRONMENT_PREFIX}__");
    let mut variables: Vec<_> = variables
        .into_iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .collect();
    variables.sort();
    let mut root = Node::empty(Origin::Default);
    for (name, text) in variables {
        let path = name[prefix.len()..].to_lowercase().replace("__", ".");
        root.set(&path, Origin::Environment(name), text);
    }
    root
}

/// Flags of the command line, each a key, its flag and its value.
pub(super) fn flags(flags: &[(String, String, String)]) -> Node {
    let mut root = Node::empty(Origin::Default);
    for (key, flag, text) in flags {
        root.set(key, Origin::Flag(flag.clone()), text.clone());
    }
    root
}

impl Node {
    fn empty(origin: Origin) -> Node {
        Node::new(String::new(), &origin, ValueKind::Table(Default::default()))
    }

    fn new(key: String, origin: &Origin, value: ValueKind) -> Node {
        let content = match value {
            ValueKind::Table(table) => Content::Table(
                table
                    .into_iter()
                    .map(|(name, value)| {
                        let child = Node::new(join(&key, &name), origin, value.kind);
                        (name, child)
                    })
                    .collect(),
            ),
            ValueKind::Array(items) => Content::List(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, value)| Node::new(format!("{key}[{index}]"), origin, value.kind))
                    .collect(),
            ),
            ValueKind::Boolean(value) => Content::Bool(value),
            ValueKind::I64(value) => Content::Integer(value),
            ValueKind::Float(value) => Content::Float(value),
            ValueKind::String(text) => Content::Text(text),
            // TOML knows neither nothing nor integers beyond 64 bits.
            other @ (ValueKind::Nil | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_)) => {
                Content::Text(other.to_string())
            }
        };
        Node {
            key,
            origin: origin.clone(),
            content,
            removed: Vec::new(),
        }
    }

    /// Sets one value, making the tables on the way.
    fn set(&mut self, path: &str, origin: Origin, text: String) {
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        let key = join(&self.key, first);
        if !matches!(self.content, Content::Table(_)) {
            self.content = Content::Table(BTreeMap::new());
        }
        let Content::Table(table) = &mut self.content else {
            return;
        };
        match rest {
            Some(rest) => table
                .entry(first.to_owned())
                .or_insert_with(|| Node {
                    key,
                    ..Node::empty(origin.clone())
                })
                .set(rest, origin, text),
            None => {
                table.insert(first.to_owned(), Node::new(key, &origin, parse_text(text)));
            }
        }
    }

    /// Lays a later layer over this one.
    pub fn overlay(&mut self, later: Node) {
        match (&mut self.content, later.content) {
            (Content::Table(table), Content::Table(later)) => {
                for (name, node) in later {
                    match table.get_mut(&name) {
                        Some(earlier) => earlier.overlay(node),
                        None => {
                            table.insert(name, node);
                        }
                    }
                }
            }
            (Content::List(list), Content::List(mut later)) if self.key == "series" => {
                later.append(list);
                *list = later;
            }
            (_, content) => {
                self.origin = later.origin;
                self.content = content;
            }
        }
    }

    pub fn child(&self, name: &str) -> Option<&Node> {
        match &self.content {
            Content::Table(table) => table.get(name),
            _ => None,
        }
    }

    pub fn child_mut(&mut self, name: &str) -> Option<&mut Node> {
        match &mut self.content {
            Content::Table(table) => table.get_mut(name),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The node with this key, in the uppermost layer.
    pub fn find(&self, key: &str) -> Option<&Node> {
        if self.key == key {
            return Some(self);
        }
        match &self.content {
            Content::Table(table) => table.values().find_map(|node| node.find(key)),
            Content::List(list) => list.iter().find_map(|node| node.find(key)),
            _ => None,
        }
    }

    /// The node with this key and origin.
    pub fn find_at(&self, key: &str, origin: &Origin) -> Option<&Node> {
        if self.key == key && self.origin == *origin {
            return Some(self);
        }
        match &self.content {
            Content::Table(table) => table.values().find_map(|node| node.find_at(key, origin)),
            Content::List(list) => list.iter().find_map(|node| node.find_at(key, origin)),
            _ => None,
        }
    }

    /// Where a table was written by the user, if any of it was.
    pub fn written(&self) -> &Origin {
        let children: Vec<&Node> = match &self.content {
            Content::Table(table) => table.values().collect(),
            Content::List(list) => list.iter().collect(),
            _ => return &self.origin,
        };
        let user = |origin: &&Origin| !matches!(origin, Origin::Default | Origin::Demo);
        children
            .into_iter()
            .map(Node::written)
            .find(user)
            .unwrap_or(&self.origin)
    }

    /// Takes out the node that is wrong, and puts the default in its place if there is one, so that reading can go
    /// on to the next problem. Returns whether the node was found.
    pub fn repair(&mut self, key: &str, origin: &Origin, defaults: &Node) -> bool {
        let wrong = |node: &Node| node.key == key && node.origin == *origin;
        match &mut self.content {
            Content::Table(table) => {
                let name = table
                    .iter()
                    .find(|(_, node)| wrong(node))
                    .map(|(name, _)| name.clone());
                if let Some(name) = name {
                    match defaults.find(key).filter(|_| *origin != Origin::Default) {
                        Some(default) => {
                            table.insert(name, default.clone());
                        }
                        None => {
                            table.remove(&name);
                            self.removed.push(name);
                        }
                    }
                    return true;
                }
                table.values_mut().any(|node| node.repair(key, origin, defaults))
            }
            Content::List(list) => {
                let before = list.len();
                list.retain(|node| !wrong(node));
                before != list.len() || list.iter_mut().any(|node| node.repair(key, origin, defaults))
            }
            _ => false,
        }
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

/// Tables and lists can be written in an environment variable as in a file.
fn parse_text(text: String) -> ValueKind {
    if text.starts_with(['[', '{'])
        && let Ok(mut table) = File::from_str(&format!("value = {text}"), FileFormat::Toml).collect()
        && let Some(Value { kind, .. }) = table.remove("value")
    {
        return kind;
    }
    ValueKind::String(text)
}
