//! What the listener counts, for its status and for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::wire::Violation;

/// Counts since the start of the process, and gauges.
#[derive(Debug, Default)]
pub struct Counters {
    connections: Gauge,
    pub accepted: Counter,
    /// Connections beyond the limit.
    pub turned_away: Counter,
    pub refused_logins: Counter,
    received: Family<Qos, Counter>,
    waiting: Gauge,
    /// Messages that are stored, or refused for good.
    pub settled: Counter,
    /// Messages that the device has to send again.
    pub undelivered: Counter,
    /// QoS 0 messages for which there was no room, or that could not be stored.
    pub lost: Counter,
    oversized: Counter,
    malformed: Counter,
    /// Connections that were silent for too long.
    pub silent: Counter,
    pub taken_over: Counter,
    pub panics: Counter,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Qos {
    qos: u8,
}

/// [`Counters`] at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ListenerFigures {
    /// Devices that are connected.
    pub connections: u64,
    pub accepted: u64,
    /// Connections beyond `max_connections`.
    pub turned_away: u64,
    pub refused_logins: u64,
    pub received_qos0: u64,
    pub received_qos1: u64,
    pub received_qos2: u64,
    /// Messages that are not stored yet.
    pub waiting: u64,
    /// Messages that are stored, or refused for good.
    pub settled: u64,
    /// Messages that their device had to send again.
    pub undelivered: u64,
    /// QoS 0 messages for which there was no room, or that could not be stored.
    pub lost_qos0: u64,
    pub oversized: u64,
    pub malformed: u64,
    /// Connections that were silent for longer than their keep-alive allows.
    pub silent: u64,
    pub taken_over: u64,
    pub panics: u64,
}

/// Lowers a gauge by one when it is dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counters {
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("mqtt_listener_{name}"), help, counter.clone());
        };
        counter("accepted", "Connections accepted", &self.accepted);
        counter("turned_away", "Connections beyond the limit", &self.turned_away);
        counter("refused_logins", "Logins refused", &self.refused_logins);
        counter("settled", "Messages stored, or refused for good", &self.settled);
        counter(
            "undelivered",
            "Messages that devices had to send again",
            &self.undelivered,
        );
        counter("lost", "QoS 0 messages lost", &self.lost);
        counter("oversized", "Packets larger than allowed", &self.oversized);
        counter(
            "malformed",
            "Connections that broke the protocol",
            &self.malformed,
        );
        counter("silent", "Connections past their keep-alive", &self.silent);
        counter(
            "taken_over",
            "Connections ended by a newer one of the same device",
            &self.taken_over,
        );
        counter("panics", "Connections ended by a defect", &self.panics);
        registry.register("mqtt_listener_received", "Messages by QoS", self.received.clone());
        let (connections, waiting) = (self.connections.clone(), self.waiting.clone());
        registry.register("mqtt_listener_connections", "Devices connected", connections);
        registry.register("mqtt_listener_waiting", "Messages not stored yet", waiting);
    }

    pub fn received(&self, qos: u8) {
        self.received.get_or_create(&Qos { qos }).inc();
    }

    pub fn violated(&self, violation: Violation) -> u64 {
        match violation {
            Violation::TooLarge => self.oversized.inc(),
            _ => self.malformed.inc(),
        }
    }

    /// One more connection, for as long as what is returned is held.
    pub fn connected(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// One more message under way, for as long as what is returned is held.
    pub fn wait(&self) -> Counted {
        Counted::new(&self.waiting)
    }

    pub fn figures(&self) -> ListenerFigures {
        let gauge = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        let received = |qos| self.received.get_or_create(&Qos { qos }).get();
        ListenerFigures {
            connections: gauge(&self.connections),
            accepted: self.accepted.get(),
            turned_away: self.turned_away.get(),
            refused_logins: self.refused_logins.get(),
            received_qos0: received(0),
            received_qos1: received(1),
            received_qos2: received(2),
            waiting: gauge(&self.waiting),
            settled: self.settled.get(),
            undelivered: self.undelivered.get(),
            lost_qos0: self.lost.get(),
            oversized: self.oversized.get(),
            malformed: self.malformed.get(),
            silent: self.silent.get(),
            taken_over: self.taken_over.get(),
            panics: self.panics.get(),
        }
    }
}

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
