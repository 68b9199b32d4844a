//! What became of mail: out of the trace on disk, and where there is none, out of the one in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query as Parameters, State};
use axum::http::header::LINK;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smtp::{TraceId, TransactionId};
use trace::{Place, TraceError};

use super::answers::{No, Office};
use super::desk::Desk;
use super::{asker, sight};
use crate::access::Sight;
use crate::client::encoded;
use crate::config::parse_duration;
use crate::recorder::{Disk, Query, TraceEntry};
use crate::report::{SessionStory, TransactionStory};

/// The most entries of one answer.
const MAX_LAST: usize = 1000;
const DEFAULT_LAST: usize = 20;

/// What fits, latest first.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) found: Vec<T>,
    /// Where a question that goes further back begins; `None`: there is nothing more.
    pub(super) reached: Option<Place>,
}

/// Asks the trace on disk, aside: it reads files. `None` where there is none, or it cannot be read, which the log says.
async fn on_disk<T: Send + 'static>(
    desk: &Arc<Desk>,
    ask: impl FnOnce(&Disk) -> Result<T, TraceError> + Send + 'static,
) -> Option<T> {
    desk.recording().disk()?;
    let desk = Arc::clone(desk);
    let asked = tokio::task::spawn_blocking(move || desk.recording().disk().map(ask)).await;
    match asked.ok()?? {
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::error!(%error, "the trace on disk cannot be read");
            None
        }
    }
}

/// Transactions that fit and are seen by whoever asks.
pub(super) async fn transactions(desk: &Arc<Desk>, mut query: Query) -> Answer<TransactionStory> {
    let sight = asker::sight();
    query.within = (sight != Sight::All).then(|| sight.domains());
    let (wanted, whose) = (query.clone(), sight.clone());
    let found = on_disk(desk, move |disk| disk.transactions(&wanted, &|story| sight::seen(&whose, story)));
    match found.await {
        Some((found, reached)) => Answer { found, reached },
        None => {
            let see = |story| sight::seen(&sight, story);
            Answer { found: desk.kept(|kept| kept.memory.transactions(&query, &see)), reached: None }
        }
    }
}

/// Sessions without mail that fit.
pub(super) async fn sessions(desk: &Arc<Desk>, query: Query) -> Answer<SessionStory> {
    let wanted = query.clone();
    match on_disk(desk, move |disk| disk.sessions_without_mail(&wanted)).await {
        Some((found, reached)) => Answer { found, reached },
        None => Answer { found: desk.kept(|kept| kept.memory.sessions_without_mail(&query)), reached: None },
    }
}

/// One transaction and what became of its message. The trace in memory has more to say of it.
pub(super) async fn transaction(desk: &Arc<Desk>, id: &str) -> Option<TransactionStory> {
    let id: TransactionId = id.parse().ok()?;
    let (recent, steps) = desk.kept(|kept| (kept.memory.transaction(id), kept.memory.afterwards(id)));
    let recent = recent.map(|transaction| TransactionStory::from(&*transaction));
    let (story, steps) =
        match on_disk(desk, move |disk| Ok((disk.transaction(id)?, disk.afterwards(id)?))).await {
            Some((kept, steps)) => (recent.or(kept), steps),
            None => (recent, steps.iter().map(|step| (&**step).into()).collect()),
        };
    match story {
        None if steps.is_empty() => None,
        story => {
            let story = story.unwrap_or_else(|| TransactionStory::without_beginning(id.to_string()));
            sight::story(story.then(steps))
        }
    }
}

/// `?q=&from=&to=&subject=&ip=&verdict=&outcome=&direction=&since=&until=&before=&last=`, all optional.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// In every address, the subject, the Message-ID, what the client calls itself, and identifiers.
    pub(super) q: Option<String>,
    /// In the sender's address.
    pub(super) from: Option<String>,
    /// In a recipient's address.
    pub(super) to: Option<String>,
    /// In the subject.
    pub(super) subject: Option<String>,
    /// The client's address.
    pub(super) ip: Option<String>,
    /// `pass`, `tag`, `quarantine`, `reject`, `defer`, `discard`, `refused` or `unjudged`.
    pub(super) verdict: Option<String>,
    /// `accepted`, `spooled`, `deferred`, `refused` or `abandoned`.
    pub(super) outcome: Option<String>,
    /// `inbound` or `outbound`.
    pub(super) direction: Option<String>,
    /// So long ago, such as `2h`, or a date such as `2026-11-21` or `2026-11-21T19:00:00Z`.
    pub(super) since: Option<String>,
    /// As `since`.
    pub(super) until: Option<String>,
    /// Where a list goes on, as its `Link` has it.
    pub(super) before: Option<u64>,
    /// How many; 20 unless said, 1000 at most.
    pub(super) last: Option<usize>,
}

impl Asked {
    /// A field of a form that was left empty was not asked for.
    pub(super) fn query(&self, now: Duration) -> Result<Query, No> {
        const WRONG: &str = "`since` and `until` are durations such as `2h`, or dates such as `2026-11-21` or `2026-11-21T19:00:00Z`";
        let given = |text: &Option<String>| {
            text.clone().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let time = |text: &Option<String>| {
            given(text).map(|text| moment(&text, now).ok_or(No(StatusCode::BAD_REQUEST, WRONG))).transpose()
        };
        let address = |text: String| {
            let address = text.parse::<IpAddr>().map(|ip| ip.to_canonical());
            address.map_err(|_| {
                No(StatusCode::BAD_REQUEST, "`ip` is an address such as `192.0.2.7` or `2001:db8::7`")
            })
        };
        Ok(Query {
            anywhere: given(&self.q),
            from: given(&self.from),
            to: given(&self.to),
            subject: given(&self.subject),
            ip: given(&self.ip).map(address).transpose()?,
            verdict: given(&self.verdict),
            outcome: given(&self.outcome),
            direction: given(&self.direction),
            since: time(&self.since)?.unwrap_or_default(),
            until: time(&self.until)?.unwrap_or(Duration::MAX),
            before: self.before.map(Place),
            within: None,
            last: self.last.unwrap_or(DEFAULT_LAST).min(MAX_LAST),
        })
    }

    /// The same question, further back.
    pub(super) fn further_back(&self, place: Place) -> String {
        let texts = [
            ("q", &self.q),
            ("from", &self.from),
            ("to", &self.to),
            ("subject", &self.subject),
            ("ip", &self.ip),
            ("verdict", &self.verdict),
            ("outcome", &self.outcome),
            ("direction", &self.direction),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let mut question = format!("?before={}", place.0);
        for (name, value) in texts {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                question.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        if let Some(last) = self.last {
            question.push_str(&format!("&last={last}"));
        }
        question
    }
}

/// So long ago, or at that date.
fn moment(text: &str, now: Duration) -> Option<Duration> {
    if let Some(ago) = parse_duration(text) {
        return Some(now.saturating_sub(ago));
    }
    let date = match text.parse::<jiff::Timestamp>() {
        Ok(date) => date,
        // What a form's field for a date, or for a date and a time, sends: they are UTC as everything on the page.
        Err(_) => {
            text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
    };
    Some(Duration::from_secs(u64::try_from(date.as_second()).unwrap_or_default()))
}

/// A list, with the address of the next one as RFC 8288 has it.
pub(super) struct Listed<T> {
    found: Vec<T>,
    next: Option<HeaderValue>,
}

impl<T> Listed<T> {
    fn of(answer: Answer<T>, path: &str, asked: &Asked) -> Self {
        let next = answer.reached.map(|place| format!("<{path}{}>; rel=\"next\"", asked.further_back(place)));
        Self { found: answer.found, next: next.and_then(|next| HeaderValue::from_str(&next).ok()) }
    }
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let mut response = Json(&self.found).into_response();
        if let Some(next) = self.next {
            response.headers_mut().insert(LINK, next);
        }
        response
    }
}

pub(super) async fn list(
    State(desk): Office,
    Parameters(asked): Parameters<Asked>,
) -> Result<Listed<TransactionStory>, No> {
    let answer = transactions(&desk, asked.query(desk.now())?).await;
    Ok(Listed::of(answer, "/api/v1/transactions", &asked))
}

/// Sessions that brought no mail.
pub(super) async fn list_sessions(
    State(desk): Office,
    Parameters(asked): Parameters<Asked>,
) -> Result<Listed<SessionStory>, No> {
    let answer = sessions(&desk, asked.query(desk.now())?).await;
    Ok(Listed::of(answer, "/api/v1/sessions", &asked))
}

pub(super) async fn one(State(desk): Office, Path(id): Path<String>) -> Result<Json<TransactionStory>, No> {
    let unknown = No(StatusCode::NOT_FOUND, "no such transaction in the trace");
    transaction(&desk, &id).await.map(Json).ok_or(unknown)
}

/// A session and its transactions, latest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WholeSession {
    session: Option<SessionStory>,
    transactions: Vec<TransactionStory>,
}

pub(super) async fn session(State(desk): Office, Path(id): Path<String>) -> Result<Json<WholeSession>, No> {
    let id: TraceId = id.parse().map_err(|_| No(StatusCode::BAD_REQUEST, "not a session's identifier"))?;
    let kept = on_disk(&desk, move |disk| disk.session(id)).await;
    let (session, found) = kept.unwrap_or_else(|| {
        let (session, transactions) = desk.kept(|kept| kept.memory.session(id));
        let stories = transactions.iter().map(|entry| TransactionStory::from(&**entry));
        (session.map(|session| SessionStory::from(&*session)), stories.collect())
    });
    if session.is_none() && found.is_empty() {
        return Err(No(
            StatusCode::NOT_FOUND,
            "no such session in the trace; one that is still open comes into it with its first transaction",
        ));
    }
    let mut transactions = Vec::with_capacity(found.len());
    for story in found {
        // With what became of each.
        let whole = transaction(&desk, &story.id).await;
        transactions.push(whole.unwrap_or(story));
    }
    Ok(Json(WholeSession { session, transactions }))
}

/// `?after=&limit=`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stretch {
    /// Where the stretch begins: `next` of the one before.
    after: Option<u64>,
    /// Entries of the stretch, about; 1000 at most.
    limit: Option<usize>,
}

/// Everything in the trace on disk, in the order in which it was kept, a stretch at a time.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Exported {
    entries: Vec<TraceEntry>,
    /// Where the next stretch begins; `None` at the end.
    next: Option<u64>,
}

pub(super) async fn export(
    State(desk): Office,
    Parameters(stretch): Parameters<Stretch>,
) -> Result<Json<Exported>, No> {
    let limit = stretch.limit.unwrap_or(MAX_LAST).min(MAX_LAST);
    let mut place = Place(stretch.after.unwrap_or_default());
    let exported = on_disk(&desk, move |disk| {
        let mut entries = Vec::new();
        while entries.len() < limit {
            let Some((some, behind)) = disk.forward(place)? else {
                return Ok(Exported { entries, next: None });
            };
            entries.extend(some);
            place = behind;
        }
        Ok(Exported { entries, next: Some(place.0) })
    });
    let none =
        No(StatusCode::NOT_FOUND, "no trace is kept on disk, see [trace] in the config; or the log says why");
    exported.await.map(Json).ok_or(none)
}
