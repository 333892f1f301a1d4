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

/// Variables such as `SENSORHIVE__HTTP__LISTEN`, a layer each. A value that opens with `[` or `{` is read as TOML.
pub(super) fn environment(variables: &[(String, String)]) -> Vec<Node> {
    let prefix = format!("{ENVIRONMENT_PREFIX}__");
    let ours = |(name, text): &(String, String)| {
        let path = name.strip_prefix(&prefix)?.to_lowercase().replace("__", ".");
        Some(Node::branch("", &path, Origin::Environment(name.clone()), text))
    };
    let mut variables = variables.to_vec();
    variables.sort();
    variables.iter().filter_map(ours).collect()
}

/// A flag of the command line: its key, the flag and its value.
pub(super) fn flag((key, flag, text): &(String, String, String)) -> Node {
    Node::branch("", key, Origin::Flag(flag.clone()), text)
}

impl Node {
    pub fn empty() -> Node {
        Node::new(
            String::new(),
            &Origin::Default,
            ValueKind::Table(Default::default()),
        )
    }

    /// One value, with the tables that lead to it.
    fn branch(key: &str, path: &str, origin: Origin, text: &str) -> Node {
        let Some((name, rest)) = path.split_once('.').or((!path.is_empty()).then_some((path, ""))) else {
            return Node::new(key.to_owned(), &origin, parse_text(text));
        };
        let child = Node::branch(&join(key, name), rest, origin.clone(), text);
        Node {
            key: key.to_owned(),
            origin,
            content: Content::Table(BTreeMap::from([(name.to_owned(), child)])),
            removed: Vec::new(),
        }
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

    /// Lays a later layer over this one. A table and a value cannot stand for each other: the earlier stays.
    pub fn overlay(&mut self, later: Node, problems: &mut Vec<Problem>) {
        match (&mut self.content, later.content) {
            (Content::Table(table), Content::Table(later)) => {
                for (name, node) in later {
                    match table.get_mut(&name) {
                        Some(earlier) => earlier.overlay(node, problems),
                        None => {
                            table.insert(name, node);
                        }
                    }
                }
            }
            (Content::List(list), Content::List(mut later))
                if ["series", "rules"].contains(&self.key.as_str()) =>
            {
                later.append(list);
                *list = later;
            }
            (Content::Table(_), _) => problems.push(Problem {
                key: later.key,
                origin: later.origin,
                message: "must be a table, with keys of its own".to_owned(),
            }),
            (_, Content::Table(_)) => problems.push(Problem {
                key: later.key,
                origin: later.origin,
                message: format!("has no keys of its own; it has a value from {}", self.origin),
            }),
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
fn parse_text(text: &str) -> ValueKind {
    if text.starts_with(['[', '{'])
        && let Ok(mut table) = File::from_str(&format!("value = {text}"), FileFormat::Toml).collect()
        && let Some(Value { kind, .. }) = table.remove("value")
    {
        return kind;
    }
    ValueKind::String(text.to_owned())
}
