//! What happens, as it happens: a stream of server-sent events (HTML Living Standard §9.2) for whoever is logged in, of what they see.
//!
//! A listener costs a place, and what it has not read yet: one that falls behind is let go, and comes again by itself, as browsers do.
//! It is looked at again and again whether it may still listen. Nothing is told twice, and what happens in between is not told at
//! all: who needs everything reads `/api/v1/transactions`.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::answers::{No, Office};
use super::asker::{Asker, Came, asker};
use super::desk::Desk;
use super::{guard, sight};
use crate::access::{Needs, Rights, Sight};
use crate::recorder::Happened;
use crate::report::{AfterwardsStory, Problem, State as Present, TransactionStory};
use crate::web::places::{Place, Places};

/// Listeners at a time; connections to the page are [`super::MAX_CONNECTIONS`].
const MOST: usize = 24;
/// Of one client: behind a tunnel all are one.
const MOST_OF_CLIENT: usize = 12;
/// How often it is looked who listens, and how things are.
const LOOK: Duration = Duration::from_secs(2);
/// Messages that are told between two looks. Of more it is told how many: a page that is open must not cost mail anything.
const TOLD: usize = 100;
/// Without anything to tell, so often a line that means nothing keeps the connection open where something between cuts silent ones.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Places for listeners.
pub(super) fn places() -> Places {
    Places::new(MOST, MOST_OF_CLIENT)
}

/// What became of a message after its transaction.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Afterwards {
    /// The transaction.
    id: String,
    /// What.
    step: AfterwardsStory,
}

/// How things are now; told at the beginning and whenever it changes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Now {
    /// In one sentence.
    state: Present,
    /// Everything that is wrong, the worst first.
    problems: Vec<Problem>,
}

/// Something is wrong, or no longer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Alert {
    /// Whether it begins; else it is over.
    begins: bool,
    /// What it is about.
    problem: Problem,
}

/// Messages that were too many to be told.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct More {
    /// How many; not told to who sees some domains only.
    messages: Option<usize>,
}

/// The answer.
pub(super) struct Events(Response);

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        self.0
    }
}

pub(super) async fn listen(State(desk): Office, headers: HeaderMap) -> Result<Events, No> {
    const FULL: No = No(StatusCode::TOO_MANY_REQUESTS, "as many listen as can; close a page that is open");
    let asker = asker().ok_or(No(StatusCode::UNAUTHORIZED, "nobody asks"))?;
    let place = desk.listeners().take(asker.came.peer).ok_or(FULL)?;
    let events = stream::unfold(Listener::new(desk, asker, headers, place), Listener::next);
    Ok(Events(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()))
}

struct Listener {
    desk: Arc<Desk>,
    /// By which it is known who listens.
    headers: HeaderMap,
    came: Came,
    rights: Rights,
    happening: broadcast::Receiver<Happened>,
    looks: Interval,
    /// As they were told last, by what they are.
    problems: Option<BTreeMap<String, Problem>>,
    waiting: VecDeque<Event>,
    /// Messages since the last look.
    told: usize,
    /// Messages since then that were too many.
    more: usize,
    _place: Place,
}

impl Listener {
    fn new(desk: Arc<Desk>, asker: Asker, headers: HeaderMap, place: Place) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            happening: desk.recording().listen(),
            rights: asker.rights,
            came: asker.came,
            headers,
            desk,
            looks,
            problems: None,
            waiting: VecDeque::new(),
            told: 0,
            more: 0,
            _place: place,
        }
    }

    /// The next event; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some((Ok(event), self));
            }
            tokio::select! {
                _ = self.looks.tick() => {
                    if !self.look().await {
                        return None;
                    }
                }
                // It fell behind, or Postern ends.
                happened = self.happening.recv() => self.take(happened.ok()?),
            }
        }
    }

    /// Whether it may go on.
    async fn look(&mut self) -> bool {
        let now = guard::identify(&self.desk, self.came, &self.headers, false).await;
        if !now.rights.suffice(Needs::See) {
            return false;
        }
        self.rights = now.rights;
        if self.more > 0 {
            let more = std::mem::take(&mut self.more);
            let sees_all = self.rights.sight() == Some(&Sight::All);
            self.say("more", &More { messages: sees_all.then_some(more) });
        }
        self.told = 0;
        if self.rights.suffice(Needs::SeeAll) {
            self.compare();
        }
        true
    }

    /// What is wrong now, beside what was.
    fn compare(&mut self) {
        let problems = Problem::all(self.desk.live(), self.desk.now());
        let by_key: BTreeMap<_, _> = problems.iter().map(|one| (one.key.clone(), one.clone())).collect();
        let before = self.problems.take();
        if before.as_ref() != Some(&by_key) {
            let state = Present::of(&problems);
            self.say("state", &Now { state, problems });
        }
        if let Some(before) = &before {
            for (_, problem) in by_key.iter().filter(|(key, _)| !before.contains_key(*key)) {
                self.say("alert", &Alert { begins: true, problem: problem.clone() });
            }
            for (_, problem) in before.iter().filter(|(key, _)| !by_key.contains_key(*key)) {
                self.say("alert", &Alert { begins: false, problem: problem.clone() });
            }
        }
        self.problems = Some(by_key);
    }

    /// Tells what happened, as far as it is seen.
    fn take(&mut self, happened: Happened) {
        if self.told >= TOLD {
            self.more += 1;
            return;
        }
        let Some(whose) = self.rights.sight().cloned() else { return };
        match happened {
            Happened::Transaction(transaction) => {
                if let Some(story) = sight::seen(&whose, TransactionStory::from(&*transaction)) {
                    self.told += 1;
                    self.say("message", &story);
                }
            }
            Happened::Afterwards(step) => {
                let id = step.transaction.to_string();
                let steps = seen(&whose, &id, (&*step).into());
                self.told += steps.len();
                steps
                    .into_iter()
                    .for_each(|step| self.say("afterwards", &Afterwards { id: id.clone(), step }));
            }
        }
    }

    fn say(&mut self, kind: &str, what: &impl Serialize) {
        match Event::default().event(kind).json_data(what) {
            Ok(event) => self.waiting.push_back(event),
            Err(error) => tracing::error!(%error, kind, "an event cannot be written"),
        }
    }
}

/// What is seen of a step.
fn seen(sight: &Sight, id: &str, step: AfterwardsStory) -> Vec<AfterwardsStory> {
    let alone = TransactionStory::without_beginning(id.to_owned()).then(vec![step]);
    sight::seen(sight, alone).map(|story| story.afterwards).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use record::{Event as Recorded, Recorder as _};
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;

    use super::super::access_tests::{access, said};
    use super::super::asker::{Door, Who};
    use super::super::tests::{FINE, desk, serve_desk};
    use super::*;
    use crate::access::{Access, Client, Role};
    use crate::recorder::samples;

    const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A stream that is read bit by bit.
    struct Heard {
        stream: TcpStream,
        text: String,
    }

    impl Heard {
        async fn by(address: SocketAddr, cookie: &str) -> Self {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request =
                format!("GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\nCookie: postern={cookie}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            Self { stream, text: String::new() }
        }

        /// Reads until this is there.
        async fn until(&mut self, wanted: &str) -> &str {
            while !self.text.contains(wanted) {
                let mut some = [0; 4096];
                let read = self.stream.read(&mut some).await.unwrap();
                assert!(read > 0, "it ended without {wanted}: {}", self.text);
                self.text.push_str(&String::from_utf8_lossy(&some[..read]));
            }
            &self.text
        }

        async fn until_its_end(mut self) -> String {
            let mut rest = Vec::new();
            self.stream.read_to_end(&mut rest).await.unwrap();
            self.text + &String::from_utf8_lossy(&rest)
        }
    }

    async fn secret(access: &Access, name: &str, role: &str, domains: &[&str]) -> String {
        let domains: Vec<String> = domains.iter().map(|domain| (*domain).to_owned()).collect();
        let (code, _) =
            access.add_user(&name.parse().unwrap(), Role::of(role, &domains).unwrap()).await.unwrap();
        let client = Client { address: NEAR, agent: String::new() };
        access.redeem(said(name, &code), &client).await.unwrap().opened.unwrap().secret
    }

    #[tokio::test]
    async fn everybody_hears_what_they_see_and_no_longer_than_they_may() {
        let folder = tempfile::tempdir().unwrap();
        let access = access(&folder);
        let ann = secret(&access, "ann", "administrator", &[]).await;
        let dom = secret(&access, "dom", "domain-administrator", &["example.org"]).await;
        let (listener, desk) = desk(FINE, false, Arc::clone(&access)).await;
        let (address, _stop) = serve_desk((listener, Arc::clone(&desk)));
        let (mut all, mut own) = (Heard::by(address, &ann).await, Heard::by(address, &dom).await);
        assert!(all.until("event: state\n").await.contains("server 10.0.0.11:25"), "how things are");
        own.until("\r\n\r\n").await;
        // Both listen: the second one says so with its head.
        let foreign = samples::transaction(1);
        let mut shared = samples::transaction(2);
        shared.recipients.truncate(1);
        shared.recipients[0].address = "b2@example.org".into();
        desk.recording().record(Recorded::Transaction(Box::new(foreign)));
        desk.recording().record(Recorded::Transaction(Box::new(shared)));
        let second = format!("\"id\":\"{}\"", samples::transaction(2).id);
        let first = format!("\"id\":\"{}\"", samples::transaction(1).id);
        assert!(all.until(&second).await.contains(&first));
        let heard = own.until(&second).await;
        assert!(!heard.contains(&first) && !heard.contains("event: state"), "{heard}");
        // Without a session nobody listens.
        access.within(&Sight::All).remove(&"dom".parse().unwrap()).await.unwrap();
        own.until_its_end().await;
        let refused = Heard::by(address, &dom).await.until("log in first").await.to_owned();
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    }

    #[tokio::test]
    async fn there_are_only_so_many_listeners_and_whoever_goes_leaves_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let access = access(&folder);
        let ann = secret(&access, "ann", "administrator", &[]).await;
        let (address, _stop) = serve_desk(desk(FINE, false, access).await);
        let mut all = Vec::new();
        for _ in 0..MOST_OF_CLIENT {
            let mut heard = Heard::by(address, &ann).await;
            heard.until("event: state").await;
            all.push(heard);
        }
        let mut refused = Heard::by(address, &ann).await;
        assert!(refused.until("as many listen as can").await.starts_with("HTTP/1.1 429 "));
        drop(all.pop());
        loop {
            // It is noticed with the next thing that is written there.
            let mut again = Heard::by(address, &ann).await;
            if again.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 ") {
                break;
            }
        }
    }

    fn asker(rights: Rights) -> Asker {
        let local = (NEAR, 0).into();
        Asker {
            who: Who::Command(0),
            rights,
            came: Came { door: Door::Command { user: 0 }, peer: NEAR, local },
            sends: false,
        }
    }

    #[tokio::test]
    async fn who_falls_behind_is_let_go_and_a_flood_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (_, desk) = desk(FINE, false, access(&folder)).await;
        let listener = || {
            let place = desk.listeners().take(NEAR).unwrap();
            Listener::new(Arc::clone(&desk), asker(Rights::all()), HeaderMap::new(), place)
        };
        let mut behind = listener();
        let mut flooded = listener();
        for number in 0..1100 {
            desk.recording().record(Recorded::Transaction(Box::new(samples::transaction(number))));
            if number % 100 == 0 {
                desk.recording().caught_up().await;
            }
            while let Ok(happened) = flooded.happening.try_recv() {
                flooded.take(happened);
            }
        }
        desk.recording().caught_up().await;
        // The first look comes at once; what was missed is told by the end.
        while let Some((_, next)) = behind.next().await {
            behind = next;
        }
        assert_eq!((flooded.told, flooded.waiting.len()), (TOLD, TOLD));
        assert!(flooded.more >= 900, "{}", flooded.more);
        assert!(flooded.look().await && flooded.more == 0 && flooded.told == 0);
    }
}
