//! Every path, and what it needs of whoever asks. There is no other way to add one: a handler without a [`Needs`] has no place
//! in the table.

use std::sync::{Arc, OnceLock};

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::desk::Desk;
use super::guard::{self, Body, Guarded};
use super::openapi::{About, Book, Described};
use super::{
    account, answers, audit, block, certificates, configs, domain_reports, domains, editing, events, judging,
    language, login, lookup, messages, passkeys, quarantine, queue, records, reports, senders, settings,
    tokens, trends, users, weekly, zone,
};
use crate::access::Needs;

/// An order for some ten thousand messages by name.
pub(super) const MAX_BODY: usize = 256 << 10;
/// A config that is handed in: 512 KiB, of which a form makes up to three times as much.
pub(super) const MAX_TEXT_BODY: usize = 2 << 20;
/// A message that is handed in: as much as is looked at of any, in base64, and its envelope.
const MAX_MESSAGE_BODY: usize = 12 << 20;

/// Messages that are handed in at once: one takes its body, what is decoded of it and what is read in it. More wait.
pub(super) const MAX_MESSAGES: usize = 4;

/// The stream of events.
pub(super) const EVENTS: &str = "/api/v1/events";

/// One path and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    pub(super) needs: Needs,
}

/// Paths as they are added.
struct Table {
    desk: Arc<Desk>,
    router: Router<Arc<Desk>>,
    routes: Vec<Route>,
    /// What is written down of the API.
    book: Book,
    /// Places for messages that are handed in.
    messages: Arc<Semaphore>,
}

impl Table {
    fn new(desk: Arc<Desk>) -> Self {
        let messages = Arc::new(Semaphore::new(MAX_MESSAGES));
        Self { desk, router: Router::new(), routes: Vec::new(), book: Book::new(), messages }
    }

    /// What programs look at.
    fn tell<T: 'static, I>(
        mut self,
        path: &'static str,
        needs: Needs,
        about: impl Into<About>,
        handler: impl Handler<T, Arc<Desk>> + Described<I>,
    ) -> Self {
        self.book.add(&Route { path, method: "GET", needs }, about.into(), &handler);
        self.get(path, needs, handler)
    }

    /// What programs change; it is in the trail.
    fn order<T: 'static, I>(
        mut self,
        path: &'static str,
        needs: Needs,
        about: impl Into<About>,
        handler: impl Handler<T, Arc<Desk>> + Described<I>,
    ) -> Self {
        self.book.add(&Route { path, method: "POST", needs }, about.into(), &handler);
        self.post(path, needs, handler)
    }

    /// What is only looked at.
    fn get<T: 'static>(self, path: &'static str, needs: Needs, handler: impl Handler<T, Arc<Desk>>) -> Self {
        self.add(Route { path, method: "GET", needs }, get(handler), Body::None)
    }

    /// What changes something, and is in the trail.
    fn post<T: 'static>(self, path: &'static str, needs: Needs, handler: impl Handler<T, Arc<Desk>>) -> Self {
        self.add(Route { path, method: "POST", needs }, post(handler), Body::Order)
    }

    /// What says itself what is to be in the trail, if anything: its body may have a password in it.
    fn post_quietly<T: 'static>(
        self,
        path: &'static str,
        needs: Needs,
        handler: impl Handler<T, Arc<Desk>>,
    ) -> Self {
        self.add(Route { path, method: "POST", needs }, post(handler), Body::Own)
    }

    /// The same, for a handler that says itself what is to be in the trail.
    fn order_quietly<T: 'static, I>(
        mut self,
        path: &'static str,
        needs: Needs,
        about: impl Into<About>,
        handler: impl Handler<T, Arc<Desk>> + Described<I>,
    ) -> Self {
        self.book.add(&Route { path, method: "POST", needs }, about.into(), &handler);
        self.post_quietly(path, needs, handler)
    }

    /// What takes the text of a config, in a form of the page; its handler says what is to be in the trail.
    fn post_text<T: 'static>(
        self,
        path: &'static str,
        needs: Needs,
        handler: impl Handler<T, Arc<Desk>>,
    ) -> Self {
        self.add(Route { path, method: "POST", needs }, post(handler), Body::Text)
    }

    /// The same, of a program.
    fn order_with_text<T: 'static, I>(
        mut self,
        path: &'static str,
        needs: Needs,
        about: impl Into<About>,
        handler: impl Handler<T, Arc<Desk>> + Described<I>,
    ) -> Self {
        self.book.add(&Route { path, method: "POST", needs }, about.into(), &handler);
        self.post_text(path, needs, handler)
    }

    /// What takes a whole message of a program.
    fn order_with_message<T: 'static, I>(
        mut self,
        path: &'static str,
        needs: Needs,
        about: impl Into<About>,
        handler: impl Handler<T, Arc<Desk>> + Described<I>,
    ) -> Self {
        self.book.add(&Route { path, method: "POST", needs }, about.into(), &handler);
        self.add(Route { path, method: "POST", needs }, post(handler), Body::Message)
    }

    fn add(mut self, route: Route, handler: MethodRouter<Arc<Desk>>, body: Body) -> Self {
        let limit = match body {
            Body::Message => MAX_MESSAGE_BODY,
            Body::Text => MAX_TEXT_BODY,
            Body::None | Body::Order | Body::Own => MAX_BODY,
        };
        let guarded = Guarded { desk: Arc::clone(&self.desk), needs: route.needs, body };
        let handler = handler.layer(DefaultBodyLimit::max(limit));
        let handler = match body {
            Body::Message => handler.layer(from_fn_with_state(Arc::clone(&self.messages), judging::in_turn)),
            _ => handler,
        };
        // The outermost: who may not ask waits for nothing.
        let handler = handler.layer(from_fn_with_state(guarded, guard::guard));
        self.router = self.router.route(route.path, handler);
        self.routes.push(route);
        self
    }
}

/// The whole server, and the table that it was made from.
pub(super) fn all(desk: &Arc<Desk>) -> (Router, Vec<Route>) {
    let document = Arc::new(OnceLock::new());
    let table = config(people(programs(mail(watching(Table::new(Arc::clone(desk)))))));
    let Table { router, routes, book, .. } = described(table, &document);
    // Nobody has set it before.
    let _ = document.set(book.finish());
    let router = router
        .fallback(answers::nothing_here)
        .layer(from_fn(language::speak))
        .layer(from_fn_with_state(Arc::clone(desk), guard::address))
        .with_state(Arc::clone(desk));
    (router, routes)
}

/// The description, without a login: it is the same in every Postern and says nothing of this one, and programs that read such
/// documents send no token for them.
fn described(table: Table, document: &Arc<OnceLock<Value>>) -> Table {
    let document = Arc::clone(document);
    let handler = move || {
        let document = document.get().and_then(Value::as_object).cloned().unwrap_or_default();
        std::future::ready(Json(document))
    };
    table.tell("/api/v1/openapi.json", Needs::Nothing, "This document.", handler)
}

fn watching(table: Table) -> Table {
    table
        .get("/", Needs::See, answers::front)
        .get("/transactions/{id}", Needs::See, answers::transaction_page)
        .get("/assets/postern.css", Needs::Nothing, answers::style)
        .get("/assets/postern.js", Needs::Nothing, answers::script)
        .get("/assets/passkeys.js", Needs::Nothing, answers::passkeys_script)
        .get("/language/{tag}", Needs::Nothing, language::choose)
        .tell(
            "/api/v1/status",
            Needs::SeeAll,
            "How things are: everything that the front page shows.",
            answers::status,
        )
        .tell(
            "/api/v1/trends",
            Needs::SeeAll,
            "Sessions, octets, the queue, TLS and languages in the course of an hour, a day or thirty days.",
            trends::told,
        )
        .get("/messages", Needs::See, messages::page)
        .tell(EVENTS, Needs::See, "What happens, as it happens.", events::listen)
        .tell("/api/v1/transactions", Needs::See, "Transactions that fit, the latest first.", lookup::list)
        .tell(
            "/api/v1/transactions/{id}",
            Needs::See,
            "One transaction: what happened to a message, and why.",
            lookup::one,
        )
        .tell(
            "/api/v1/trace",
            Needs::SeeAll,
            "The whole trace on disk, a stretch at a time, the oldest first.",
            lookup::export,
        )
        .get("/weekly", Needs::See, weekly::page)
        .get("/weekly/{domain}", Needs::See, weekly::document)
        .tell("/api/v1/weekly", Needs::See, "What each domain's week was, in numbers.", weekly::list)
        .get("/dns", Needs::SeeAll, records::page)
        .tell(
            "/api/v1/dns",
            Needs::SeeAll,
            "What is to be published in the DNS, and on demand what is.",
            zone::dns,
        )
        .get("/domain-reports", Needs::SeeAll, domain_reports::page)
        .tell(
            "/api/v1/domain-reports",
            Needs::SeeAll,
            "What others report about the domains here: TLS (RFC 8460) and DMARC (RFC 9990).",
            domain_reports::list,
        )
        .tell(
            "/api/v1/sessions",
            Needs::SeeAll,
            "Sessions that brought no mail, the latest first.",
            lookup::list_sessions,
        )
        .tell("/api/v1/sessions/{id}", Needs::SeeAll, "One session and its transactions.", lookup::session)
        .tell(
            "/api/v1/certificates",
            Needs::SeeAll,
            "Certificates that serve, and how ordering goes.",
            certificates::list,
        )
        .get("/interception-ca.pem", Needs::SeeAll, answers::authority)
}

fn mail(table: Table) -> Table {
    table
        .get("/queue", Needs::See, queue::page)
        .get("/queue/{id}", Needs::See, queue::message_page)
        .post("/queue/disaster", Needs::ActOnAll, queue::disaster_button)
        .post("/queue/{id}", Needs::Act, queue::button)
        .tell("/api/v1/queue", Needs::See, "Messages that wait, and the numbers of the queue.", queue::list)
        .order(
            "/api/v1/queue/disaster",
            Needs::ActOnAll,
            "Switches disaster mode: everything is accepted and kept.",
            queue::disaster,
        )
        .tell("/api/v1/queue/{id}", Needs::See, "One message that waits.", queue::message)
        .order(
            "/api/v1/queue/{id}",
            Needs::Act,
            ("Gives an order for messages that wait.", &queue::VERBS[..]),
            queue::order,
        )
        .get("/quarantine", Needs::See, quarantine::page)
        .post("/quarantine/{verb}", Needs::Act, quarantine::button)
        .tell("/api/v1/quarantine", Needs::See, "Messages that are held.", quarantine::list)
        .tell("/api/v1/quarantine/{id}", Needs::See, "One message that is held.", quarantine::message)
        .order(
            "/api/v1/quarantine/{id}",
            Needs::Act,
            ("Gives an order for messages that are held.", &quarantine::VERBS[..]),
            quarantine::order,
        )
        .get("/block", Needs::SeeAll, block::page)
        .post("/block/{verb}", Needs::ActOnAll, block::button)
        .tell(
            "/api/v1/block",
            Needs::SeeAll,
            "Senders that are blocked, beside those of the config.",
            block::list,
        )
        .order(
            "/api/v1/block/{verb}",
            Needs::ActOnAll,
            ("Blocks senders, or no longer.", &block::VERBS[..]),
            block::order,
        )
        .get("/domains", Needs::See, domains::page)
        .get("/domains/{domain}", Needs::See, domains::domain_page)
        .post("/domains/{domain}", Needs::Act, domains::button)
        .tell(
            "/api/v1/domains",
            Needs::See,
            "The domains behind Postern: their mailboxes and entries in numbers.",
            domains::list,
        )
        .tell(
            "/api/v1/domains/{domain}/entries",
            Needs::See,
            "What a domain decided for itself: blocked and allowed senders, traps, aliases.",
            domains::of_domain,
        )
        .order(
            "/api/v1/domains/{domain}/entries",
            Needs::Act,
            "Adds an entry of a domain, or removes one.",
            domains::order,
        )
        .get("/reports", Needs::See, reports::page)
        .post("/reports/{verb}", Needs::Act, reports::button)
        .tell("/api/v1/reports", Needs::See, "Reports by users that wait to be looked at.", reports::list)
        .order(
            "/api/v1/reports/{verb}",
            Needs::Act,
            ("Settles reports by users.", &reports::VERBS[..]),
            reports::order,
        )
        .get("/senders", Needs::See, senders::page)
        .post("/senders/{verb}", Needs::Act, senders::button)
        .tell(
            "/api/v1/senders",
            Needs::See,
            "Who sends from here, those that look taken over first.",
            senders::list,
        )
        .order(
            "/api/v1/senders/{verb}",
            Needs::Act,
            ("Stops a sender, or lets it send again.", &senders::VERBS[..]),
            senders::order,
        )
}

fn programs(table: Table) -> Table {
    table
        .get("/metrics", Needs::Metrics, answers::metrics)
        .get("/healthz", Needs::Nothing, answers::healthz)
        .get("/readyz", Needs::Nothing, answers::readyz)
        .order(
            "/api/v1/certificates/renew",
            Needs::Administer,
            "Orders certificates anew.",
            certificates::renew,
        )
        .order("/api/v1/certificates/roll", Needs::Administer, "Changes to the next key.", certificates::roll)
        .order(
            "/api/v1/dns/replace-dkim",
            Needs::Administer,
            "Changes a domain's DKIM key to the next.",
            zone::replace_dkim,
        )
        .order_quietly(
            "/api/v1/backup/store",
            Needs::Administer,
            "Writes down what is remembered, for a backup.",
            answers::write_store_down,
        )
        .order_with_message(
            "/api/v1/scan",
            Needs::SeeAll,
            "Judges a message without sending it.",
            judging::scan,
        )
        .order_with_message(
            "/api/v1/learn/{class}",
            Needs::Administer,
            ("Teaches the classifier a message.", &judging::CLASSES[..]),
            judging::learn,
        )
}

fn config(table: Table) -> Table {
    table
        .get("/settings", Needs::Administer, settings::page)
        .tell(
            "/api/v1/settings",
            Needs::Administer,
            "The config as its file is now, with what each key means.",
            settings::list,
        )
        .get("/settings/text", Needs::Administer, editing::text)
        .post_text("/settings/{verb}", Needs::Administer, editing::button)
        .get("/settings/history", Needs::Administer, editing::history)
        .get("/settings/history/{id}", Needs::Administer, editing::change)
        .tell(
            "/api/v1/config",
            Needs::Administer,
            "The config's text, without its secrets.",
            configs::present,
        )
        .tell(
            "/api/v1/config/history",
            Needs::Administer,
            "The last changes of the config.",
            configs::history,
        )
        .tell("/api/v1/config/history/{id}", Needs::Administer, "One change of the config.", configs::one)
        .order_with_text(
            "/api/v1/config/{verb}",
            Needs::Administer,
            (
                "Checks a text for the config, or puts it in force; sets one key; undoes a change.",
                &configs::VERBS[..],
            ),
            configs::order,
        )
}

fn people(table: Table) -> Table {
    table
        .get("/login", Needs::Nothing, login::page)
        .post_quietly("/login", Needs::Nothing, login::log_in)
        .get("/login/passkey", Needs::Nothing, passkeys::ask)
        .post_quietly("/login/passkey", Needs::Nothing, passkeys::log_in)
        .get("/first", Needs::Nothing, login::first_page)
        .post_quietly("/first", Needs::Nothing, login::redeem)
        .post_quietly("/logout", Needs::Own, login::log_out)
        .get("/account", Needs::Own, account::page)
        .post_quietly("/account/password", Needs::Own, account::password)
        .post_quietly("/account/totp", Needs::Own, account::offer)
        .post_quietly("/account/totp/confirm", Needs::Own, account::enrol)
        .post_quietly("/account/totp/remove", Needs::Own, account::remove_totp)
        .post_quietly("/account/passkeys", Needs::Own, passkeys::offer)
        .post_quietly("/account/passkeys/confirm", Needs::Own, passkeys::take)
        .post_quietly("/account/passkeys/remove", Needs::Own, passkeys::remove)
        .post_quietly("/account/sessions/end", Needs::Own, account::end_session)
        .get("/users", Needs::Manage, users::page)
        .post("/users/{verb}", Needs::Manage, users::button)
        .tell("/api/v1/users", Needs::Manage, "Users.", users::list)
        .order(
            "/api/v1/users/{verb}",
            Needs::Manage,
            ("Adds, changes or removes a user; `code` is for one more administrator.", &users::VERBS[..]),
            users::order,
        )
        .tell(
            "/api/v1/console",
            Needs::Administer,
            "What the appliance's screen shows: the code for the first login, while there are no users.",
            users::console,
        )
        .get("/tokens", Needs::Administer, tokens::page)
        .post("/tokens/{verb}", Needs::Administer, tokens::button)
        .tell("/api/v1/tokens", Needs::Administer, "API tokens, without their secrets.", tokens::list)
        .order(
            "/api/v1/tokens/{verb}",
            Needs::Administer,
            ("Makes a token, whose secret is told once, or removes one.", &tokens::VERBS[..]),
            tokens::order,
        )
        .get("/audit", Needs::Administer, audit::page)
        .tell("/api/v1/audit", Needs::Administer, "Changes that were made, the latest first.", audit::list)
}
