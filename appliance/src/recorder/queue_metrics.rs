//! The queue's time series. What waits is counted by folder and by destination that is not reached, never by anything that a
//! sender names (law 7).

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::report::QueueState;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FolderLabel {
    folder: String,
}

/// Gauges, as they were at the last look; sums since the start too, for the queue counts them itself.
#[derive(Debug, Default)]
pub(super) struct QueueMetrics {
    messages: Family<FolderLabel, Gauge>,
    held: Gauge,
    oldest: Gauge,
    content: Gauge,
    used: Gauge,
    free: Gauge,
    full: Gauge,
    disaster: Gauge,
    damaged: Gauge,
    away: Gauge,
    connections: Gauge,
    delivered: Gauge,
    reported: Gauge,
    set_aside: Gauge,
}

impl QueueMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("queue_messages", "Messages in the spool, by folder", self.messages.clone());
        r.register("queue_held", "Messages that a person holds back", self.held.clone());
        let help = "How long the oldest message has been waiting for its server";
        r.register_with_unit("queue_oldest", help, Unit::Seconds, self.oldest.clone());
        r.register_with_unit("queue_content", "Content that waits", Unit::Bytes, self.content.clone());
        r.register_with_unit("spool_used", "What the spool takes on disk", Unit::Bytes, self.used.clone());
        r.register_with_unit("spool_free", "What its file system has left", Unit::Bytes, self.free.clone());
        r.register("spool_full", "1 while new mail is refused for want of room", self.full.clone());
        r.register("queue_disaster", "1 while nothing expires", self.disaster.clone());
        r.register("spool_damaged", "Damaged records that were set aside", self.damaged.clone());
        r.register("queue_destinations_away", "Destinations that are not reached", self.away.clone());
        r.register("queue_connections", "Connections of the queue", self.connections.clone());
        let help = "Recipients to whom the queue has delivered since the start";
        r.register("queue_delivered", help, self.delivered.clone());
        r.register("queue_reports", "Reports to senders since the start", self.reported.clone());
        r.register("queue_set_aside", "Times that something went into `expired`", self.set_aside.clone());
    }

    /// Fills the gauges in.
    pub(super) fn show(&self, queue: &QueueState, now: Duration) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.messages.clear();
        for folder in spool::Folder::ALL {
            let label = FolderLabel { folder: folder.name().to_owned() };
            self.messages.get_or_create(&label).set(count(queue.in_folder(folder)));
        }
        let age = queue.oldest.map_or(0, |oldest| now.as_secs().saturating_sub(oldest));
        self.held.set(count(queue.held));
        self.oldest.set(number(age));
        self.content.set(number(queue.bytes));
        self.used.set(number(queue.used));
        self.free.set(number(queue.free));
        self.full.set(i64::from(queue.full));
        self.disaster.set(i64::from(queue.disaster.is_some()));
        self.damaged.set(count(queue.damaged));
        let away = queue.destinations.iter().filter(|one| one.away_since.is_some()).count();
        self.away.set(count(away));
        self.connections.set(count(queue.destinations.iter().map(|one| one.connections).sum()));
        self.delivered.set(number(queue.delivered));
        self.reported.set(number(queue.reported));
        self.set_aside.set(number(queue.set_aside));
    }
}
