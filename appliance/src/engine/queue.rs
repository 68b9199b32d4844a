//! The queue's drain: what could not be delivered in its session is offered again when its time has come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use delivery::{Attempt, Ways};
use record::Clock;
use relay::Relay;
use spool::{EntryId, Schedule, SpoolError};
use tokio::task::JoinSet;

/// How often it is looked what is due.
const TICK: Duration = Duration::from_secs(1);
/// How often old segments are cleared away.
const TIDY: u32 = 10;
/// Attempts at once: a server that has just come back is not overrun.
const AT_ONCE: usize = 20;

/// Delivers what is due, for as long as the relay serves.
pub(super) async fn drain(relay: Arc<Relay>, clock: Arc<dyn Clock>, schedule: Schedule) {
    let mut attempts: JoinSet<EntryId> = JoinSet::new();
    let mut under_way = HashSet::new();
    let mut ticks = 0_u32;
    while !relay.is_draining() {
        tokio::time::sleep(TICK).await;
        while let Some(Ok(id)) = attempts.try_join_next() {
            under_way.remove(&id);
        }
        let spool = relay.serving().driver.spool.clone();
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(TIDY)
            && let Err(error) = spool.tidy(clock.now()).await
        {
            tracing::error!(%error, "the spool could not be tidied");
        }
        for id in spool.due(clock.now(), AT_ONCE * 2) {
            if under_way.len() < AT_ONCE && under_way.insert(id) {
                let (relay, clock) = (Arc::clone(&relay), Arc::clone(&clock));
                attempts.spawn(async move {
                    try_once(&relay, &*clock, schedule, id).await;
                    id
                });
            }
        }
    }
}

async fn try_once(relay: &Relay, clock: &dyn Clock, schedule: Schedule, id: EntryId) {
    let serving = relay.serving();
    let driver = &serving.driver;
    let ways = Ways { routing: &serving.settings.routing, destinations: driver.destinations.as_deref() };
    let over = |received| schedule.expired(received, clock.now());
    match delivery::attempt(&driver.opener, ways, &driver.spool, clock, id, over).await {
        Ok(Attempt::Delivered(reply)) => tracing::info!(entry = %id, %reply, "delivered from the queue"),
        Ok(Attempt::Deferred(reply)) => tracing::info!(entry = %id, %reply, "stays in the queue"),
        Ok(Attempt::SetAside(reply)) => {
            tracing::error!(entry = %id, %reply, "set aside in the folder `expired`: it needs a person");
        }
        // Somebody removed it meanwhile.
        Err(SpoolError::Unknown(_)) => {}
        Err(error) => {
            tracing::error!(entry = %id, %error, "a message in the queue could not be read or noted")
        }
    }
}
