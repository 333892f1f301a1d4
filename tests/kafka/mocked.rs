//! What brokers answer only now and then, put into the mouth of librdkafka's mock of a cluster: it listens on 127.0.0.1, in this
//! process, and needs neither Java nor jars. So this is also what is tested of Kafka where there are none.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Answer};

use crate::api::number;
use crate::instance::{Instance, Place};
use crate::kafka::Record;
use crate::plant::{SOURCE, detail, messages, reaches};

const TOPIC: &str = "mocked";
const GROUP: &str = "sensorhive";
const BROKERS: i32 = 3;
const PARTITIONS: i32 = 4;
const SENSORS: u64 = 8;
/// Messages after each answer.
const ROUND: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(120);

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    written: u64,
}

impl Mock {
    fn new() -> Self {
        let cluster = MockCluster::new(BROKERS).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, BROKERS).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        config
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("log_level", "0");
        Self {
            producer: config.create().unwrap(),
            cluster,
            written: 0,
        }
    }

    fn place(&self) -> std::sync::Arc<Place> {
        let settings = format!(
            "[sources.{SOURCE}]\nkind = 'kafka'\nbrokers = '{}'\ntopics = '{TOPIC}'\ngroup = '{GROUP}'\n
             options = {{ 'session.timeout.ms' = 6000, 'heartbeat.interval.ms' = 200, 'reconnect.backoff.max.ms' = 500 }}\n",
            self.cluster.bootstrap_servers()
        );
        Place::new(&settings, &[])
    }

    /// Writes some more, and waits until all that was written is stored, once.
    async fn round(&mut self, instance: &Instance) {
        let upto = self.written + ROUND;
        for Record {
            partition,
            key,
            payload,
            ..
        } in messages(self.written, upto, SENSORS, PARTITIONS)
        {
            let (key, payload) = (key.unwrap(), payload.unwrap());
            let record = BaseRecord::to(TOPIC)
                .partition(partition)
                .key(&key)
                .payload(&payload);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
        self.written = upto;
        let stored = reaches(&instance.place, upto as i64).await;
        assert_eq!(
            (stored.rows, stored.duplicate, stored.letters),
            (upto as i64, 0, 0),
            "{stored:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_brokers_answer_each_message_is_stored_once() {
    use Answer::*;
    let mut mock = Mock::new();
    let instance = Instance::start(&mock.place()).await;
    mock.round(&instance).await;
    let answers: &[(Api, &[Answer])] = &[
        (
            Api::Fetch,
            &[
                RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
                RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
            ],
        ),
        (Api::Fetch, &[RD_KAFKA_RESP_ERR__TRANSPORT; 4]),
        (
            Api::OffsetCommit,
            &[
                RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            ],
        ),
        (Api::OffsetCommit, &[RD_KAFKA_RESP_ERR__TRANSPORT; 2]),
        (Api::Metadata, &[RD_KAFKA_RESP_ERR__TRANSPORT; 2]),
        (
            Api::Heartbeat,
            &[
                RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
            ],
        ),
        (
            Api::FindCoordinator,
            &[RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 2],
        ),
        // The member has to join anew, and is not let in at once.
        (
            Api::JoinGroup,
            &[
                RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
            ],
        ),
        (Api::SyncGroup, &[RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]),
        (Api::Heartbeat, &[RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]),
        (Api::Heartbeat, &[RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]),
        (Api::Heartbeat, &[RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]),
    ];
    for (api, errors) in answers {
        mock.cluster.request_errors(*api, errors);
        mock.round(&instance).await;
    }

    // Leaders and the coordinator move, and brokers are gone for a while.
    for broker in 1..=BROKERS {
        for partition in 0..PARTITIONS {
            mock.cluster
                .partition_leader(TOPIC, partition, Some(broker))
                .unwrap();
        }
        let coordinator = MockCoordinator::Group(GROUP.to_owned());
        mock.cluster
            .coordinator(coordinator, broker % BROKERS + 1)
            .unwrap();
        mock.round(&instance).await;
        mock.cluster.broker_down(broker).unwrap();
        mock.cluster.broker_up(broker).unwrap();
        mock.round(&instance).await;
    }
    let shown = detail(&instance.api).await;
    assert!(
        number(&shown["rebalances"]) > 1,
        "nobody had to join anew: {shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_goes_on_where_it_was() {
    let mut mock = Mock::new();
    let mut instance = Instance::start(&mock.place()).await;
    for _ in 0..3 {
        mock.round(&instance).await;
        instance.kill9();
        instance = instance.again(&[]).await;
    }
    mock.round(&instance).await;
}
