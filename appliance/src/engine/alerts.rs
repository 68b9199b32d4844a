//! Somebody is told of what wants to be looked after: once when it is so, and once when it is over, also over a restart.
//!
//! What is wrong is [`Problem`], the same that the page shows. A mail goes through the queue like any other, so that one to a domain
//! whose own server is down waits with the rest: an address elsewhere is worth having.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use delivery::Queue;
use record::Clock;
use relay::Relay;
use serde::{Deserialize, Serialize};
use smtp::{Mailbox, TraceId, TransactionId};
use spool::SpoolError;
use store::{Change, Store, StoreError, Table};

use super::own_mail::{OwnMail, put_into_queue};
use super::webhooks::Webhooks;
use crate::report::{Level, Live, Problem};

const TABLE: Table = Table("alerts");
const KEY: &[u8] = b"told";
/// How often it is looked.
const LOOK: Duration = Duration::from_secs(15);
/// A server that restarts is no news, nor is a queue that is looked at again in a minute.
const PATIENCE_WHEN_BAD: Duration = Duration::from_secs(60);
/// What only wants attention may pass by itself.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// For so long nothing is seen of it before it is over: what comes and goes is one piece of news.
const CALM: Duration = Duration::from_secs(5 * 60);
/// How long an end waits for what is being told.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Problems that are followed at a time; the worst first.
const MOST: usize = 200;
/// Octets that the store is believed to have of them.
const MOST_STORED: usize = 1 << 20;

/// A problem that is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Followed {
    /// As it was last seen.
    problem: Problem,
    /// Seconds since 1970.
    since: u64,
    /// When it was last seen, in seconds since 1970.
    seen: u64,
    /// As how bad it was told; `None`: not yet.
    told: Option<Level>,
}

/// What is followed, by what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Watch(BTreeMap<String, Followed>);

/// What is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct News {
    begun: Vec<Followed>,
    over: Vec<Followed>,
}

impl News {
    fn is_none(&self) -> bool {
        self.begun.is_empty() && self.over.is_empty()
    }
}

impl Watch {
    /// Takes in what is so now, in seconds since 1970, and says what of it is news. Who tells it calls [`Watch::told`] afterwards.
    fn look(&mut self, problems: Vec<Problem>, now: u64) -> News {
        // Whoever stops Postern knows it.
        for problem in problems.into_iter().filter(|problem| problem.key != "draining").take(MOST) {
            let new = Followed { since: now, seen: now, told: None, problem: problem.clone() };
            let followed = self.0.entry(problem.key.clone()).or_insert(new);
            followed.seen = now;
            // What is said of it may change while it lasts, and it may grow worse.
            followed.problem = problem;
        }
        // What was never told and did not last needs no end.
        self.0.retain(|_, followed| followed.told.is_some() || followed.seen == now);
        let is_news = |followed: &&Followed| {
            let patience = match followed.problem.level {
                Level::Bad => PATIENCE_WHEN_BAD,
                Level::Attention | Level::Good => PATIENCE,
            };
            let is_new = followed.told.is_none_or(|level| followed.problem.level > level);
            is_new && now.saturating_sub(followed.since) >= patience.as_secs()
        };
        let is_over = |followed: &&Followed| now.saturating_sub(followed.seen) >= CALM.as_secs();
        News {
            begun: self.0.values().filter(is_news).cloned().collect(),
            over: self.0.values().filter(is_over).cloned().collect(),
        }
    }

    fn told(&mut self, news: &News) {
        for begun in &news.begun {
            if let Some(followed) = self.0.get_mut(&begun.problem.key) {
                followed.told = Some(begun.problem.level);
            }
        }
        for over in &news.over {
            self.0.remove(&over.problem.key);
        }
    }
}

/// Why nobody is told now.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Who tells, and by what.
pub(super) struct Alerts {
    relay: Arc<Relay>,
    queue: Arc<Queue>,
    live: Arc<dyn Live>,
    store: Store,
    clock: Arc<dyn Clock>,
    /// `[log] alerts`, as the config has it now.
    to: tokio::sync::watch::Receiver<Vec<String>>,
    webhooks: Arc<Webhooks>,
    telling: Telling,
}

/// Held from the first that is told of a piece of news until it is kept that it was: whoever ends Postern waits for that.
#[derive(Clone, Debug, Default)]
pub(super) struct Telling(Arc<tokio::sync::Mutex<()>>);

impl Telling {
    /// Waits until nothing is being told, for a time: a disk that does not answer holds nobody up.
    pub(super) async fn is_over(&self) {
        let _ = tokio::time::timeout(LAST_WORDS, self.0.lock()).await;
    }
}

impl Alerts {
    pub(super) fn new(
        relay: &Arc<Relay>,
        queue: &Arc<Queue>,
        live: Arc<dyn Live>,
        store: Store,
        clock: Arc<dyn Clock>,
        (to, webhooks): (tokio::sync::watch::Receiver<Vec<String>>, Arc<Webhooks>),
    ) -> Self {
        let (relay, queue, telling) = (Arc::clone(relay), Arc::clone(queue), Telling::default());
        Self { relay, queue, live, store, clock, to, webhooks, telling }
    }

    /// Whether something is being told.
    pub(super) fn telling(&self) -> Telling {
        self.telling.clone()
    }

    /// Looks until the relay drains.
    pub(super) async fn keep(self) {
        let mut watch = self.remembered().await;
        while !self.relay.is_draining() {
            tokio::time::sleep(LOOK).await;
            let _telling = self.telling.0.lock().await;
            if self.relay.is_draining() {
                return;
            }
            let now = self.clock.now();
            let news = watch.look(Problem::all(&*self.live, now), now.as_secs());
            if news.is_none() {
                continue;
            }
            if let Err(error) = self.tell(&news, now).await {
                tracing::error!(%error, "an alert cannot be put into the queue; it is tried again");
                continue;
            }
            watch.told(&news);
            if let Err(error) = self.remember(&watch).await {
                tracing::warn!(%error, "it may be told again after a restart");
            }
        }
    }

    async fn remembered(&self) -> Watch {
        let stored = self.store.get(TABLE, KEY).await.ok().flatten();
        let stored = stored.filter(|octets| octets.len() <= MOST_STORED);
        stored.and_then(|octets| serde_json::from_slice(&octets).ok()).unwrap_or_default()
    }

    async fn remember(&self, watch: &Watch) -> Result<(), StoreError> {
        let told = Watch(
            watch
                .0
                .iter()
                .filter(|(_, one)| one.told.is_some())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        );
        let octets = serde_json::to_vec(&told).unwrap_or_default();
        self.store.apply(TABLE, vec![Change::Put(KEY.into(), octets.into())]).await
    }

    async fn tell(&self, news: &News, now: Duration) -> Result<(), NotTold> {
        for begun in &news.begun {
            tracing::warn!(target: "postern::alert", what = begun.problem.key, "{}", begun.problem.sentence);
        }
        for over in &news.over {
            tracing::info!(target: "postern::alert", what = over.problem.key, "over: {}", over.problem.sentence);
        }
        let mailboxes: Vec<Mailbox> = self.to.borrow().iter().filter_map(|to| to.parse().ok()).collect();
        let hostname = self.relay.serving().settings.hostname.to_string();
        let (subject, text) = (subject(news, &hostname), text(news, &hostname));
        for to in &mailboxes {
            let session = TraceId::new(u64::try_from(now.as_millis()).unwrap_or_default(), rand::random());
            let mail = OwnMail {
                transaction: TransactionId { session, number: 1 },
                to,
                subject: &subject,
                text: &text,
                why: "tells of what wants to be looked after",
            };
            if put_into_queue(&self.relay, self.queue.spool(), now, &mail).await?.is_none() {
                tracing::warn!(%to, "an address in [log] alerts can have no mail");
            }
        }
        // Last: what could not be put into the queue is told again, and sites are to be called once.
        if let Err(error) = self.webhooks.tell(&in_json(news, &hostname, now)).await {
            tracing::warn!(%error, "a restart would lose what web sites are to be told of an alert");
        }
        Ok(())
    }
}

/// Each piece of news as a web site is told of it: the worst first, then what is over.
fn in_json(news: &News, hostname: &str, now: Duration) -> Vec<String> {
    let date = |seconds| record::rfc3339_date(Duration::from_secs(seconds));
    let told = |kind: &str, one: &Followed, until: Option<u64>| {
        let Problem { key, level, sentence, advice } = &one.problem;
        let (since, until) = (date(one.since), until.map(date));
        let data = serde_json::json!({
            "hostname": hostname, "key": key, "level": level, "sentence": sentence, "advice": advice, "since": since, "until": until,
        });
        serde_json::json!({ "type": kind, "timestamp": date(now.as_secs()), "data": data }).to_string()
    };
    let mut begun: Vec<_> = news.begun.iter().collect();
    begun.sort_by_key(|one| std::cmp::Reverse(one.problem.level));
    let begun = begun.into_iter().map(|one| told("alert.begun", one, None));
    begun.chain(news.over.iter().map(|one| told("alert.over", one, Some(one.seen)))).collect()
}

/// The worst of it; how much more there is.
fn subject(news: &News, hostname: &str) -> String {
    let all = news.begun.len() + news.over.len();
    let worst = news.begun.iter().max_by_key(|one| one.problem.level);
    let sentence = match (worst, news.over.first()) {
        (Some(worst), _) => worst.problem.sentence.clone(),
        (None, Some(over)) => format!("Over: {}", over.problem.sentence),
        (None, None) => String::new(),
    };
    let more = if all > 1 { format!(" (and {} more)", all - 1) } else { String::new() };
    format!("[{hostname}] {sentence}{more}")
}

fn text(news: &News, hostname: &str) -> String {
    let mut text = String::new();
    let date = |seconds| record::rfc3339_date(Duration::from_secs(seconds));
    let mut begun: Vec<_> = news.begun.iter().collect();
    begun.sort_by_key(|one| std::cmp::Reverse(one.problem.level));
    for one in begun {
        text.push_str(&format!("{}\n", one.problem.sentence));
        if !one.problem.advice.is_empty() {
            text.push_str(&format!("    {}\n", one.problem.advice));
        }
        text.push_str(&format!("    since {}\n\n", date(one.since)));
    }
    for one in &news.over {
        text.push_str(&format!(
            "Over: {}\n    from {} to {}\n\n",
            one.problem.sentence,
            date(one.since),
            date(one.seen)
        ));
    }
    text.push_str(&format!("`postern status` on {hostname} and its page say how things are now.\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(key: &str, level: Level) -> Problem {
        Problem {
            key: key.to_owned(),
            level,
            sentence: format!("It is about {key}."),
            advice: "Do it.".to_owned(),
        }
    }

    /// Keys of what is news in each of these seconds, `+` for what begins; the problem is there in the first `lasts` seconds.
    fn told(level: Level, lasts: u64, until: u64) -> Vec<(u64, String)> {
        let mut watch = Watch::default();
        let mut told = Vec::new();
        for second in (0..=until).step_by(15) {
            let problems = if second <= lasts { vec![problem("x", level)] } else { Vec::new() };
            let news = watch.look(problems, second);
            watch.told(&news);
            told.extend(news.begun.iter().map(|one| (second, format!("+{}", one.problem.key))));
            told.extend(news.over.iter().map(|one| (second, format!("-{}", one.problem.key))));
        }
        told
    }

    #[test]
    fn each_is_told_once_and_once_when_it_is_over() {
        let both = |begun, over| vec![(begun, "+x".to_owned()), (over, "-x".to_owned())];
        assert_eq!(told(Level::Bad, 600, 3000), both(60, 900));
        assert_eq!(told(Level::Attention, 1200, 3000), both(600, 1500));
        assert_eq!(told(Level::Attention, 590, 3000), [], "it passed by itself");
        assert_eq!(told(Level::Bad, 30, 3000), [], "a restart is no news");
    }

    #[test]
    fn what_comes_and_goes_is_one_piece_of_news() {
        let mut watch = Watch::default();
        let (mut begun, mut over) = (0, 0);
        for second in (0..3600).step_by(15) {
            // Away for three minutes of each six.
            let problems = if second % 360 < 180 { vec![problem("x", Level::Bad)] } else { Vec::new() };
            let news = watch.look(problems, second);
            watch.told(&news);
            (begun, over) = (begun + news.begun.len(), over + news.over.len());
        }
        assert_eq!((begun, over), (1, 0));
    }

    #[test]
    fn what_grows_worse_is_told_again() {
        let mut watch = Watch::default();
        let mut told = Vec::new();
        for (second, level) in
            [(0, Level::Attention), (600, Level::Attention), (900, Level::Bad), (915, Level::Attention)]
        {
            let news = watch.look(vec![problem("x", level)], second);
            watch.told(&news);
            told.extend(news.begun.iter().map(|one| (second, one.problem.level)));
        }
        assert_eq!(told, [(600, Level::Attention), (900, Level::Bad)]);
    }

    #[test]
    fn what_could_not_be_told_is_told_later_and_a_restart_does_not_tell_again() {
        let mut watch = Watch::default();
        watch.look(vec![problem("x", Level::Bad)], 0);
        assert_eq!(watch.look(vec![problem("x", Level::Bad)], 60).begun.len(), 1);
        let news = watch.look(vec![problem("x", Level::Bad)], 75);
        assert_eq!(news.begun.len(), 1, "the queue did not take it");
        watch.told(&news);
        let stored = serde_json::to_vec(&watch).unwrap();
        let mut after: Watch = serde_json::from_slice(&stored).unwrap();
        assert!(after.look(vec![problem("x", Level::Bad)], 90).is_none());
        let over = after.look(Vec::new(), 390);
        assert_eq!(over.over.len(), 1);
        after.told(&over);
        assert!(after.look(vec![problem("draining", Level::Bad)], 9000).is_none());
    }

    #[test]
    fn the_mail_says_what_to_do() {
        let followed = |key, level| Followed {
            problem: problem(key, level),
            since: 1_795_288_205,
            seen: 1_795_288_805,
            told: None,
        };
        let news = News {
            begun: vec![followed("a", Level::Attention), followed("b", Level::Bad)],
            over: vec![followed("c", Level::Bad)],
        };
        let told = in_json(&news, "mx.test", Duration::from_secs(1_795_288_865));
        let told: Vec<serde_json::Value> =
            told.iter().map(|one| serde_json::from_str(one).unwrap()).collect();
        assert_eq!((&told[0]["type"], &told[0]["data"]["key"]), (&"alert.begun".into(), &"b".into()));
        assert_eq!(told[0]["data"]["advice"], "Do it.");
        assert_eq!((&told[2]["type"], &told[2]["data"]["key"]), (&"alert.over".into(), &"c".into()));
        assert_eq!(told[2]["data"]["until"], record::rfc3339_date(Duration::from_secs(1_795_288_805)));
        assert_eq!(subject(&news, "mx.test"), "[mx.test] It is about b. (and 2 more)");
        let text = text(&news, "mx.test");
        assert!(text.starts_with("It is about b.\n    Do it.\n    since 2026-11-"), "{text}");
        assert!(text.contains("Over: It is about c.\n    from 2026-"), "{text}");
    }
}
