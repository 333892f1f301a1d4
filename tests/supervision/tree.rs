//! The live tree.

use sensorhive::actors::supervision::{
    ActorPath, ActorSpec, CrashBudget, Exhausted, Phase, Policy, SupervisionTree, start,
};

use crate::worker::*;

#[test]
fn the_tree_shows_who_lives_and_how() {
    paused(async {
        let tree = SupervisionTree::default();
        let root = ActorPath::new("root");
        let budget = CrashBudget {
            crashes: 0,
            ..CrashBudget::default()
        };
        let launch = |name: &str, exhausted: Exhausted| {
            let spec = ActorSpec::new(root.child(name)).policy(Policy {
                exhausted,
                budget,
                ..exact()
            });
            let (address, handle) = start(spec, |_, _| View::default().worker());
            tree.register("Worker", &handle);
            (address, handle)
        };
        let (_well, _) = launch("well", Exhausted::Quarantine);
        let (lost, _) = launch("lost", Exhausted::Quarantine);
        let (weak, weak_handle) = launch("weak", Exhausted::KeepTrying);
        settle().await;
        assert!(tree.degraded().is_empty());
        lost.do_send(Run::panic());
        weak.do_send(Run::panic());
        settle().await;
        let seen: Vec<(String, Phase)> = tree
            .snapshot()
            .into_iter()
            .map(|node| (node.path, node.phase))
            .collect();
        let expected = [
            ("root/lost", Phase::Quarantined),
            ("root/weak", Phase::Degraded),
            ("root/well", Phase::Running),
        ];
        assert_eq!(seen, expected.map(|(path, phase)| (path.to_owned(), phase)));
        let degraded: Vec<String> = tree.degraded().into_iter().map(|node| node.path).collect();
        assert_eq!(degraded, ["root/lost", "root/weak"]);
        let status = tree.snapshot().remove(1);
        assert_eq!(status.parent.as_deref(), Some("root"));
        assert_eq!((status.kind, status.crashes, status.restarts), ("Worker", 1, 0));
        assert_eq!(status.last_crash, weak_handle.last_crash());
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["phase"], "degraded");
        assert_eq!(json["last_crash"]["message"], "planned panic in a handler");
        assert!(json["since"].as_str().unwrap().ends_with('Z'));
    });
}

#[test]
fn an_actor_leaves_the_tree_when_it_ends_and_takes_no_other_with_it() {
    paused(async {
        let tree = SupervisionTree::default();
        let launch = || {
            let (address, handle) = start(ActorSpec::new(ActorPath::new("root/worker")), |_, _| {
                View::default().worker()
            });
            tree.register("Worker", &handle);
            (address, handle)
        };
        let (_first, first) = launch();
        let (_second, second) = launch();
        first.stop();
        first.ended().await;
        settle().await;
        assert_eq!(tree.snapshot().len(), 1, "the later one of the same path stays");
        assert!(std::sync::Arc::ptr_eq(&tree.get(second.path()).unwrap(), &second));
        second.stop();
        second.ended().await;
        settle().await;
        assert!(tree.snapshot().is_empty());
        tree.register("Worker", &second);
        assert!(
            tree.snapshot().is_empty(),
            "one that has ended does not come back"
        );
    });
}
