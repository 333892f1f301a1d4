//! The live tree of the long-lived actors, for people and for readiness.
//!
//! A node is there from its registration to its actor's end, by itself. Actors by the hundred thousand do not register; who
//! started them reports them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;

use super::{ActorPath, Crash, Handle, Phase};

/// The registered actors, by path. Clones are the same tree.
#[derive(Clone, Default)]
pub struct SupervisionTree {
    nodes: Arc<Mutex<BTreeMap<ActorPath, Node>>>,
}

struct Node {
    kind: &'static str,
    handle: Arc<Handle>,
}

/// One actor of the tree at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct NodeStatus {
    /// Names joined by `/`, the root first.
    pub path: String,
    /// The actor's type, such as `StorageWriter`.
    pub kind: &'static str,
    /// The path of the node above.
    pub parent: Option<String>,
    pub phase: Phase,
    pub restarts: u32,
    pub crashes: u32,
    pub last_crash: Option<Crash>,
    /// When the phase began.
    pub since: DateTime<Utc>,
}

impl SupervisionTree {
    /// Adds an actor under its handle's path until it ends. A later actor of the same path takes its place.
    pub fn register(&self, kind: &'static str, handle: &Arc<Handle>) {
        self.nodes.lock().insert(
            handle.path().clone(),
            Node {
                kind,
                handle: handle.clone(),
            },
        );
        let tree = self.clone();
        let of = Arc::downgrade(handle);
        let path = handle.path().clone();
        handle.at_end(move || {
            let mut nodes = tree.nodes.lock();
            if nodes
                .get(&path)
                .is_some_and(|node| std::ptr::eq(Arc::as_ptr(&node.handle), of.as_ptr()))
            {
                nodes.remove(&path);
            }
        });
    }

    /// Every registered actor, ordered by path.
    pub fn snapshot(&self) -> Vec<NodeStatus> {
        self.collect(|_| true)
    }

    /// The actors that are not as they should be: backing off, quarantined or degraded.
    pub fn degraded(&self) -> Vec<NodeStatus> {
        self.collect(|phase| matches!(phase, Phase::BackingOff | Phase::Quarantined | Phase::Degraded))
    }

    /// The handle of a registered actor.
    pub fn get(&self, path: &ActorPath) -> Option<Arc<Handle>> {
        self.nodes.lock().get(path).map(|node| node.handle.clone())
    }

    fn collect(&self, wanted: impl Fn(Phase) -> bool) -> Vec<NodeStatus> {
        let nodes = self.nodes.lock();
        nodes
            .values()
            .filter(|node| wanted(node.handle.phase()))
            .map(Node::status)
            .collect()
    }
}

impl Node {
    fn status(&self) -> NodeStatus {
        let path = self.handle.path();
        NodeStatus {
            path: path.to_string(),
            kind: self.kind,
            parent: path.parent().map(|parent| parent.to_string()),
            phase: self.handle.phase(),
            restarts: self.handle.restarts(),
            crashes: self.handle.crashes(),
            last_crash: self.handle.last_crash(),
            since: self.handle.since(),
        }
    }
}
