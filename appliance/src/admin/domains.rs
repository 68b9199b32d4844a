//! What domains decide for themselves, for whoever administers them: whom they block and let pass, their traps and aliases.

use axum::Json;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smtp::Domain;

use super::answers::{No, Office, Refused, html};
use super::asker::{asker, may, sight};
use super::desk::Desk;
use super::form;
use super::page::Frame;
use super::tables::{none, still, when_seconds, wide};
use crate::access::{Needs, Sight};
use crate::client::encoded;
use crate::report::{DomainEntry, DomainState, EntryError, EntryKind, EntryOrder};

/// For a domain that is not there, and for one that is not the asker's.
const UNKNOWN: &str = "no domain of this name is behind Postern, or it is not yours";

/// The domains that are seen.
fn seen(desk: &Desk) -> Vec<DomainState> {
    let sight = sight();
    let domains = desk.live().domains().into_iter();
    domains.filter(|domain| sight.has(&domain.domain)).collect()
}

pub(super) async fn list(State(desk): Office) -> Json<Vec<DomainState>> {
    Json(seen(&desk))
}

/// The domain of a path, if it is seen; however it is written.
fn named(domain: &str) -> Result<Domain, Refused> {
    let domain = domain.parse::<Domain>().ok().filter(|domain| sight().has(domain.as_str()));
    domain.ok_or_else(|| Refused(StatusCode::NOT_FOUND, UNKNOWN.to_owned()))
}

fn entries(desk: &Desk, domain: &Domain) -> Result<Vec<DomainEntry>, Refused> {
    let entries = desk.live().domain_entries(domain.as_str());
    entries.ok_or_else(|| Refused(StatusCode::NOT_FOUND, UNKNOWN.to_owned()))
}

pub(super) async fn of_domain(
    State(desk): Office,
    Path(domain): Path<String>,
) -> Result<Json<Vec<DomainEntry>>, Refused> {
    entries(&desk, &named(&domain)?).map(Json)
}

/// What is done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verb {
    /// It is added.
    Add,
    /// It is removed.
    Remove,
}

/// `{"order": "add", "kind": "block", "entry": "shop.example"}`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ordered {
    order: Verb,
    kind: EntryKind,
    /// Of `block` and `allow` a sender, an address or a domain; of `trap` and `alias` an address of the domain.
    entry: String,
    /// With `add` of an `alias`: the address that its mail goes to.
    #[serde(default)]
    target: String,
}

/// What came of an order.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Done {
    /// Whether something is other than before.
    pub(crate) changed: bool,
}

pub(super) async fn order(
    State(desk): Office,
    Path(domain): Path<String>,
    Json(ordered): Json<Ordered>,
) -> Result<Json<Done>, Refused> {
    carry_out(&desk, &domain, ordered).await.map(Json)
}

async fn carry_out(desk: &Desk, domain: &str, ordered: Ordered) -> Result<Done, Refused> {
    let domain = named(domain)?;
    let Ordered { order, kind, entry, target } = ordered;
    let adds = order == Verb::Add;
    if adds && !leads_to_own(&target) {
        return Err(Refused(StatusCode::FORBIDDEN, NOT_YOURS.to_owned()));
    }
    let by = asker().map(|asker| asker.words()).unwrap_or_default();
    let changed = decide(desk, EntryOrder { domain, adds, kind, entry, target, by }).await?;
    if !adds && !changed {
        return Err(Refused(StatusCode::NOT_FOUND, "the domain has no such entry".to_owned()));
    }
    Ok(Done { changed })
}

/// Adds or removes an entry of a domain that is the asker's.
async fn decide(desk: &Desk, order: EntryOrder) -> Result<bool, Refused> {
    let (adds, kind) = (order.adds, order.kind);
    let changed = desk.live().decide(order).await.map_err(|error| refused(&error))?;
    tracing::info!(adds, kind = kind.name(), changed, "an order for a domain's own entries was carried out");
    Ok(changed)
}

const NOT_YOURS: &str = "an alias leads to an address of a domain behind Postern that is yours, too";

/// An alias of one's own domain does not take its mail to others: neither says what is there.
fn leads_to_own(target: &str) -> bool {
    let sight = sight();
    let target = target.trim();
    let domain = target.rsplit_once('@').and_then(|(_, domain)| domain.parse::<Domain>().ok());
    sight == Sight::All || target.is_empty() || domain.is_none_or(|domain| sight.has(domain.as_str()))
}

fn refused(error: &EntryError) -> Refused {
    let status = match error {
        EntryError::NoDomain => return Refused(StatusCode::NOT_FOUND, UNKNOWN.to_owned()),
        EntryError::Wrong(_) => StatusCode::BAD_REQUEST,
        EntryError::Conflict(_) | EntryError::Full(_) => StatusCode::CONFLICT,
        EntryError::NotStored => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused(status, error.to_string())
}

pub(super) async fn page(State(desk): Office) -> Response {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: "Domains".to_owned() };
    html(overview(&frame, &seen(&desk)))
}

pub(super) async fn domain_page(State(desk): Office, Path(domain): Path<String>) -> Result<Response, No> {
    let shown = named(&domain).ok().and_then(|domain| Some((entries(&desk, &domain).ok()?, domain)));
    let (entries, domain) = shown.ok_or(No(StatusCode::NOT_FOUND, UNKNOWN))?;
    Ok(html(lists(&desk, &domain, &entries, "")))
}

/// What a form of the page sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filled {
    order: Verb,
    kind: EntryKind,
    entry: String,
    #[serde(default)]
    target: String,
}

/// A button of the page; afterwards the page is shown again, with why nothing came of it, if so.
pub(super) async fn button(
    State(desk): Office,
    Path(domain): Path<String>,
    Form(filled): Form<Filled>,
) -> Result<Response, No> {
    const NOWHERE: No = No(StatusCode::NOT_FOUND, UNKNOWN);
    let Filled { order, kind, entry, target } = filled;
    let done = carry_out(&desk, &domain, Ordered { order, kind, entry, target }).await;
    let domain = named(&domain).map_err(|_| NOWHERE)?;
    let Err(Refused(status, why)) = done else {
        let place = format!("/domains/{}", encoded(domain.as_str()));
        return Ok((StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response());
    };
    let entries = entries(&desk, &domain).map_err(|_| NOWHERE)?;
    Ok((status, html(lists(&desk, &domain, &entries, &why))).into_response())
}

fn overview(frame: &Frame, domains: &[DomainState]) -> Markup {
    frame.around(
        "All times are UTC",
        html! {
            p.back { a href="/" { "Status" } }
            (wide("domains", "What each domain decides for itself", html! {
                p.note { "Blocked and allowed senders, traps and aliases, for the mail of one domain alone. Mailboxes are addresses that mail was delivered to within the last 60 days." }
                @if domains.is_empty() { (none("There are none.")) }
                ul.plain { @for domain in domains {
                    li {
                        p { strong.words { a href=(format!("/domains/{}", encoded(&domain.domain))) { (domain.domain) } } }
                        p.note {
                            (domain.mailboxes) " mailboxes · " (domain.blocked) " blocked · " (domain.allowed) " allowed · "
                            (domain.traps) " traps · " (domain.aliases) " aliases"
                        }
                    }
                } }
            }))
        },
    )
}

/// What a list is called, what its entries do, and what is to be filled in.
fn about(kind: EntryKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        EntryKind::Block => (
            "Blocked",
            "Mail of these senders to this domain is refused, as far as action lets it; to other domains it goes on.",
            "Sender's address or domain ",
        ),
        EntryKind::Allow => (
            "Allowed",
            "Mail of these senders to this domain passes whatever it looks like, if SPF, DKIM or DMARC prove that it is theirs; viruses never pass.",
            "Sender's address or domain ",
        ),
        EntryKind::Trap => (
            "Traps",
            "Addresses that nobody has: what comes for them from outside is taken, learnt as spam by the classifier of all, and thrown away.",
            "Address in this domain ",
        ),
        EntryKind::Alias => (
            "Aliases",
            "Addresses whose mail goes to another address here: its server sees that one alone.",
            "Address in this domain ",
        ),
    }
}

fn lists(desk: &Desk, domain: &Domain, entries: &[DomainEntry], why: &str) -> Markup {
    let frame = Frame { hostname: desk.hostname().to_owned(), title: domain.to_string() };
    let of = |kind: EntryKind| entries.iter().filter(move |entry| entry.kind == kind).collect::<Vec<_>>();
    frame.around(
        "All times are UTC",
        html! {
            p.back {
                a href="/" { "Status" } " · " a href="/domains" { "Domains" } " · "
                a href=(format!("/quarantine?domain={}", encoded(domain.as_str()))) { "Quarantine" }
            }
            @if !why.is_empty() { section.state.bad id="problem" role="alert" { h1 { (why) } } }
            @for kind in EntryKind::ALL { (one_list(domain, kind, &of(kind))) }
        },
    )
}

fn one_list(domain: &Domain, kind: EntryKind, entries: &[&DomainEntry]) -> Markup {
    let (title, does, field) = about(kind);
    let place = format!("/domains/{}", encoded(domain.as_str()));
    still(
        kind.name(),
        title,
        html! {
            p.note { (does) }
            @if entries.is_empty() { (none("There are none.")) }
            ul.plain { @for one in entries {
                li {
                    p {
                        strong.words { (one.entry) }
                        @if let Some(target) = &one.target { " → " span.words { (target) } }
                        span.note { " · since " (when_seconds(one.since)) " · " span.words { (one.by) } }
                    }
                    @if may(Needs::Act) { div.actions {
                        (form::button(&place, &[("order", "remove"), ("kind", kind.name()), ("entry", &one.entry)], "Remove"))
                    } }
                }
            } }
            @if may(Needs::Act) { (form::form(&place, html! {
                input type="hidden" name="order" value="add";
                input type="hidden" name="kind" value=(kind.name());
                label { (field) input name="entry" autocomplete="off" autocapitalize="none" required maxlength="320"; }
                @if kind == EntryKind::Alias {
                    label { "Its mail goes to " input name="target" autocomplete="off" autocapitalize="none" required maxlength="320"; }
                }
                button { "Add" }
            })) }
        },
    )
}
