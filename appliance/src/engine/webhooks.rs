//! Alerts to web sites: a POST of JSON over HTTPS for each piece of news, signed as Standard Webhooks 1.0.0 has it
//! (<https://www.standardwebhooks.com>), so that whoever takes them has a library for it.
//!
//! What is to be told waits in the store, in the order in which it became so for each site, and is tried again for half a day.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, StatusCode};
use record::Clock;
use relay::Relay;
use serde::{Deserialize, Serialize};
use store::{Change, Store, StoreError, Table};
use tokio::sync::Notify;
use url::Url;

use super::sites::Sites;
use crate::config::{Config, Secret};

const TABLE: Table = Table("webhooks");
const KEY: &[u8] = b"waiting";
/// News that wait for all sites together; of more the oldest are dropped, with a line in the log.
const MOST: usize = 500;
/// Octets that the store is believed to have of them.
const MOST_STORED: usize = 4 << 20;
/// After each try that failed; after the last one it is given up. Half a day, as a site that is mended the next morning is told by
/// its own alarm.
const AGAIN: [Duration; 8] = [
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(4 * 3600),
    Duration::from_secs(4 * 3600),
];
/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(5);

/// Who is called, as the config has it now.
struct Called {
    urls: Vec<Url>,
    /// What news are signed with; without a key they are not.
    key: Option<hmac::Key>,
    sites: Arc<Sites>,
}

/// A piece of news on its way to one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    /// The same at each try, so that a site knows one that it has had.
    id: String,
    url: String,
    /// JSON.
    content: String,
    /// Tries that failed.
    failed: usize,
    /// When it is tried next, in seconds since 1970.
    due: u64,
}

/// What waits, and who sends it.
pub(super) struct Webhooks {
    store: Store,
    clock: Arc<dyn Clock>,
    called: Mutex<Option<Arc<Called>>>,
    waiting: Mutex<Vec<Waiting>>,
    more: Notify,
}

impl Webhooks {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (called, waiting) = (Mutex::default(), Mutex::default());
        Arc::new(Self { store, clock, called, waiting, more: Notify::new() })
    }

    /// From now on these are called, and this is how sites are asked.
    pub(super) fn config_is(&self, config: &Config, sites: Arc<Sites>) {
        let urls = config.log.alerts.iter().filter(|to| to.starts_with("https://"));
        let urls = urls.filter_map(|url| Url::parse(url).ok()).collect();
        let key = config.log.alerts_key.as_ref().and_then(Secret::decoded);
        let key = key.map(|octets| hmac::Key::new(hmac::HMAC_SHA256, &octets));
        *lock(&self.called) = Some(Arc::new(Called { urls, key, sites }));
    }

    fn called(&self) -> Option<Arc<Called>> {
        lock(&self.called).clone()
    }

    /// Has every site told; durably.
    pub(super) async fn tell(&self, news: &[String]) -> Result<(), StoreError> {
        let Some(called) = self.called() else { return Ok(()) };
        if called.urls.is_empty() || news.is_empty() {
            return Ok(());
        }
        {
            let mut waiting = self.waiting();
            for (content, url) in news.iter().flat_map(|one| called.urls.iter().map(move |url| (one, url))) {
                let id = format!("msg_{:032x}", rand::random::<u128>());
                let (url, content) = (url.to_string(), content.clone());
                waiting.push(Waiting { id, url, content, failed: 0, due: self.clock.now().as_secs() });
            }
            let too_many = waiting.len().saturating_sub(MOST);
            if too_many > 0 {
                tracing::error!(
                    too_many,
                    "more news wait for webhooks than are kept; the oldest are dropped"
                );
                waiting.drain(..too_many);
            }
        }
        self.more.notify_one();
        self.write().await
    }

    /// Sends until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        self.recall().await;
        while !relay.is_draining() {
            let _ = tokio::time::timeout(LOOK, self.more.notified()).await;
            while let Some(next) = self.due() {
                self.send(next).await;
                if let Err(error) = self.write().await {
                    tracing::warn!(%error, "a site may be told of an alert again after a restart");
                }
            }
        }
    }

    async fn recall(&self) {
        let stored = self.store.get(TABLE, KEY).await.ok().flatten();
        let stored = stored.filter(|octets| octets.len() <= MOST_STORED);
        let before: Option<Vec<Waiting>> = stored.and_then(|octets| serde_json::from_slice(&octets).ok());
        let mut waiting = self.waiting();
        let since = std::mem::take(&mut *waiting);
        *waiting = before.unwrap_or_default();
        waiting.extend(since);
    }

    async fn write(&self) -> Result<(), StoreError> {
        let octets = serde_json::to_vec(&*self.waiting()).unwrap_or_default();
        self.store.apply(TABLE, vec![Change::Put(KEY.into(), octets.into())]).await
    }

    /// The next one whose time has come: of each site the oldest alone. What waits for a site that the config no longer has goes.
    fn due(&self) -> Option<Waiting> {
        let called = self.called()?;
        let mut waiting = self.waiting();
        waiting.retain(|one| called.urls.iter().any(|url| url.as_str() == one.url));
        let now = self.clock.now().as_secs();
        let mut seen = HashSet::new();
        waiting.iter().find(|one| seen.insert(one.url.as_str()) && one.due <= now).cloned()
    }

    async fn send(&self, next: Waiting) {
        let Some(called) = self.called() else { return };
        let sent = called.send(&next, self.clock.now().as_secs()).await;
        // Counted from when it failed: a try may take a minute.
        let now = self.clock.now().as_secs();
        let mut waiting = self.waiting();
        let Some(at) = waiting.iter().position(|one| one.id == next.id) else { return };
        let host = Url::parse(&next.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let host = host.unwrap_or_default();
        match sent {
            Ok(()) => {
                tracing::info!(host, id = next.id, "a site was told of an alert");
                waiting.remove(at);
            }
            Err((why, is_for_good)) => match AGAIN.get(next.failed).filter(|_| !is_for_good) {
                Some(pause) => {
                    tracing::warn!(
                        host,
                        id = next.id,
                        why,
                        "a site cannot be told of an alert, and is tried again"
                    );
                    waiting[at].failed += 1;
                    waiting[at].due = now + pause.as_secs();
                }
                None => {
                    tracing::error!(
                        host,
                        id = next.id,
                        why,
                        "a site cannot be told of an alert; it is given up"
                    );
                    waiting.remove(at);
                }
            },
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        lock(&self.waiting)
    }
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Called {
    /// A site takes it with a status of success; why it does not, and whether it says that it never will (410).
    async fn send(&self, one: &Waiting, now: u64) -> Result<(), (String, bool)> {
        let url = Url::parse(&one.url).map_err(|error| (error.to_string(), true))?;
        let field = |name| HeaderName::from_static(name);
        let mut fields =
            vec![(field("webhook-id"), one.id.clone()), (field("webhook-timestamp"), now.to_string())];
        if let Some(key) = &self.key {
            fields.push((field("webhook-signature"), signature(key, &one.id, now, &one.content)));
        }
        let content = one.content.clone().into_bytes();
        let status = self.sites.post(&url, "application/json", fields, content).await;
        match status.map_err(|why| (why, false))? {
            status if status.is_success() => Ok(()),
            status => Err((format!("status {}", status.as_u16()), status == StatusCode::GONE)),
        }
    }
}

/// Of identifier, time and content, so that none of them can be another's.
fn signature(key: &hmac::Key, id: &str, now: u64, content: &str) -> String {
    let signed = hmac::sign(key, format!("{id}.{now}.{content}").as_bytes());
    format!("v1,{}", STANDARD.encode(signed.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // The vector that the libraries of Standard Webhooks are tested with.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = signature(&key, id, 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
