//! The brokers that the other tests stand on do what they say.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::kafka::Broker;

fn values(topic: &crate::kafka::Topic) -> Vec<(i32, i64, String)> {
    let text = |payload: Option<Vec<u8>>| String::from_utf8(payload.unwrap()).unwrap();
    let records = topic.read().into_iter();
    records
        .map(|record| (record.partition, record.offset, text(record.payload)))
        .collect()
}

fn expected(records: &[(i32, i64, &str)]) -> Vec<(i32, i64, String)> {
    let owned = |(partition, offset, text): &(i32, i64, &str)| (*partition, *offset, (*text).to_owned());
    records.iter().map(owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_comes_back_with_what_was_in_it() {
    let Some(broker) = Broker::private().await else {
        return;
    };
    let topic = broker.topic("killed", 2).await;
    topic.produce([(0, "a"), (1, "b"), (0, "c")]);
    broker.kill();
    broker.start().await;
    assert_eq!(values(&topic), expected(&[(0, 0, "a"), (0, 1, "c"), (1, 0, "b")]));
    topic.produce([(1, "d")]);
    broker.stop().await;
    broker.start().await;
    assert_eq!(
        values(&topic),
        expected(&[(0, 0, "a"), (0, 1, "c"), (1, 0, "b"), (1, 1, "d")])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_apart_truncated_and_made_anew() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    assert!(std::ptr::eq(broker, Broker::shared().await.unwrap()));
    let (first, second) = (broker.topic("t", 1).await, broker.topic("t", 1).await);
    assert_ne!(first.name, second.name);
    first.produce([(0, "a"), (0, "b"), (0, "c")]);
    assert!(values(&second).is_empty());
    first.truncate(0, 2).await;
    assert_eq!(values(&first), expected(&[(0, 2, "c")]));
    first.recreate().await;
    assert!(values(&first).is_empty());
    first.produce([(0, "d")]);
    assert_eq!(values(&first), expected(&[(0, 0, "d")]));
    assert_eq!(broker.committed("nobody", &first.name, 0), None);
}

/// Run again as a process of its own, which is told to start a broker and is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_ends_with_its_process() {
    const CHILD: &str = "SENSORHIVE_TEST_KAFKA_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let broker = Broker::private().await.unwrap();
        println!("\n{CHILD} {} {}", broker.directory().display(), broker.address());
        std::future::pending::<()>().await;
    }
    // Where there is none, the child could not start one either.
    if Broker::shared().await.is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "broker::a_broker_ends_with_its_process", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(child.stdout.as_mut().unwrap())
        .lines()
        .find_map(|line| Some(line.unwrap().strip_prefix(CHILD)?.trim().to_owned()))
        .unwrap();
    let (directory, address) = line.split_once(' ').unwrap();
    assert!(Path::new(directory).is_dir(), "{line}");
    assert!(std::net::TcpStream::connect(address).is_ok(), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = async {
        while Path::new(directory).exists() || std::net::TcpStream::connect(address).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(60), gone).await.is_ok(),
        "still there: {line}"
    );
}
