//! Several JSON pointers followed at once, through JSON that is not trusted.
//!
//! Pointers that share a way share its nodes, so each level of a document is read once for all of them. Invariants: stack for
//! as many levels as the longest pointer has, never for what a document holds; time linear in the document, for each level of
//! the longest pointer at most; nothing is built of what no pointer leads to.

use std::fmt;

use rustc_hash::FxHashMap;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The nodes that a set of pointers leads through; 0 is where they start.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// The way to it as a pointer, for errors.
    path: String,
    members: FxHashMap<String, usize>,
    /// Those of the members' names that are indexes, too.
    elements: FxHashMap<usize, usize>,
    /// How many elements there are up to the last that is wanted.
    elements_end: usize,
}

/// What was found at each node.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    values: Vec<Option<&'a RawValue>>,
    /// The first node that was found again: a name that its object has twice.
    twice: Option<usize>,
}

impl<'a> Found<'a> {
    pub fn at(&self, node: usize) -> Option<&'a RawValue> {
        self.values.get(node).copied().flatten()
    }
}

impl Default for Tree {
    /// Only where pointers start.
    fn default() -> Self {
        Tree {
            nodes: vec![Node::default()],
        }
    }
}

impl Tree {
    /// The node that `steps` lead to, which is made if need be.
    pub fn insert(&mut self, steps: &[String]) -> usize {
        let mut at = 0;
        for step in steps {
            at = match self.nodes[at].members.get(step) {
                Some(next) => *next,
                None => self.grow(at, step),
            };
        }
        at
    }

    fn grow(&mut self, at: usize, step: &str) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[at];
        node.members.insert(step.to_owned(), next);
        if let Some(index) = index(step) {
            node.elements.insert(index, next);
            node.elements_end = node.elements_end.max(index.saturating_add(1));
        }
        let path = format!("{}/{}", node.path, step.replace('~', "~0").replace('/', "~1"));
        self.nodes.push(Node {
            path,
            ..Node::default()
        });
        next
    }

    /// Fills `found` with what the pointers lead to in `json`. The error is the name of a member that cannot be read.
    pub fn follow<'a>(&self, json: &'a RawValue, found: &mut Found<'a>) -> serde_json::Result<()> {
        found.values.clear();
        found.values.resize(self.nodes.len(), None);
        found.twice = None;
        self.enter(0, json, found)
    }

    /// The pointer to what `found` has twice.
    pub fn twice(&self, found: &Found<'_>) -> Option<&str> {
        Some(self.nodes.get(found.twice?)?.path.as_str())
    }

    fn enter<'a>(&self, at: usize, json: &'a RawValue, found: &mut Found<'a>) -> serde_json::Result<()> {
        if found.values[at].replace(json).is_some() {
            found.twice.get_or_insert(at);
            return Ok(());
        }
        let tree = self;
        let node = &self.nodes[at];
        let mut deserializer = serde_json::Deserializer::from_str(json.get());
        match json.get().as_bytes().first() {
            Some(b'{') if !node.members.is_empty() => {
                deserializer.deserialize_map(Members { tree, node, found })
            }
            Some(b'[') if !node.elements.is_empty() => {
                deserializer.deserialize_seq(Elements { tree, node, found })
            }
            _ => Ok(()),
        }
    }
}

/// An index as RFC 6901 writes it: without leading zeros.
fn index(step: &str) -> Option<usize> {
    let written = step == "0" || (step.starts_with(|c: char| matches!(c, '1'..='9')));
    let digits = step.bytes().all(|byte| byte.is_ascii_digit());
    (written && digits).then(|| step.parse().ok()).flatten()
}

struct Members<'t, 'f, 'a> {
    tree: &'t Tree,
    node: &'t Node,
    found: &'f mut Found<'a>,
}

impl<'de> Visitor<'de> for Members<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(next) = members.next_key_seed(Member(self.node))? {
            match next {
                Some(next) => {
                    let json = members.next_value()?;
                    self.tree.enter(next, json, self.found).map_err(Error::custom)?;
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Looks the name of a member up, without keeping it.
struct Member<'t>(&'t Node);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Member<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.members.get(name).copied())
    }
}

struct Elements<'t, 'f, 'a> {
    tree: &'t Tree,
    node: &'t Node,
    found: &'f mut Found<'a>,
}

impl<'de> Visitor<'de> for Elements<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for index in 0..self.node.elements_end {
            let Some(json) = elements.next_element()? else {
                return Ok(());
            };
            if let Some(next) = self.node.elements.get(&index) {
                self.tree.enter(*next, json, self.found).map_err(Error::custom)?;
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
