//! Every path, and what it needs of whoever asks. There is no other way to add one: a handler without a [`Needs`] has no place
//! in the table.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use tokio::sync::Semaphore;

use super::desk::Desk;
use super::guard::{self, Body, Guarded};
use super::{
    account, answers, audit, block, certificates, domain_reports, judging, language, login, lookup, messages,
    quarantine, queue, records, reports, senders, tokens, users, zone,
};
use crate::access::Needs;

/// An order for some ten thousand messages by name.
pub(super) const MAX_BODY: usize = 256 << 10;
/// A message that is handed in: as much as is looked at of any, in base64, and its envelope.
const MAX_MESSAGE_BODY: usize = 12 << 20;

/// Messages that are handed in at once: one takes its body, what is decoded of it and what is read in it. More wait.
pub(super) const MAX_MESSAGES: usize = 4;

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
    /// Places for messages that are handed in.
    messages: Arc<Semaphore>,
}

impl Table {
    fn new(desk: Arc<Desk>) -> Self {
        let messages = Arc::new(Semaphore::new(MAX_MESSAGES));
        Self { desk, router: Router::new(), routes: Vec::new(), messages }
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

    /// What takes a whole message.
    fn post_message<T: 'static>(
        self,
        path: &'static str,
        needs: Needs,
        handler: impl Handler<T, Arc<Desk>>,
    ) -> Self {
        self.add(Route { path, method: "POST", needs }, post(handler), Body::Message)
    }

    fn add(mut self, route: Route, handler: MethodRouter<Arc<Desk>>, body: Body) -> Self {
        let limit = if body == Body::Message { MAX_MESSAGE_BODY } else { MAX_BODY };
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
    let table = Table::new(Arc::clone(desk));
    let Table { router, routes, .. } = people(programs(mail(watching(table))));
    let router = router
        .fallback(answers::nothing_here)
        .layer(from_fn(language::speak))
        .layer(from_fn_with_state(Arc::clone(desk), guard::address))
        .with_state(Arc::clone(desk));
    (router, routes)
}

fn watching(table: Table) -> Table {
    table
        .get("/", Needs::See, answers::front)
        .get("/transactions/{id}", Needs::See, answers::transaction_page)
        .get("/assets/postern.css", Needs::Nothing, answers::style)
        .get("/assets/postern.js", Needs::Nothing, answers::script)
        .get("/language/{tag}", Needs::Nothing, language::choose)
        .get("/api/v1/status", Needs::SeeAll, answers::status)
        .get("/messages", Needs::See, messages::page)
        .get("/api/v1/transactions", Needs::See, lookup::list)
        .get("/api/v1/transactions/{id}", Needs::See, lookup::one)
        .get("/api/v1/trace", Needs::SeeAll, lookup::export)
        .get("/dns", Needs::SeeAll, records::page)
        .get("/api/v1/dns", Needs::SeeAll, zone::dns)
        .get("/domain-reports", Needs::SeeAll, domain_reports::page)
        .get("/api/v1/domain-reports", Needs::SeeAll, domain_reports::list)
        .get("/api/v1/sessions", Needs::SeeAll, lookup::list_sessions)
        .get("/api/v1/sessions/{id}", Needs::SeeAll, lookup::session)
        .get("/api/v1/certificates", Needs::SeeAll, certificates::list)
        .get("/interception-ca.pem", Needs::SeeAll, answers::authority)
}

fn mail(table: Table) -> Table {
    table
        .get("/queue", Needs::See, queue::page)
        .get("/queue/{id}", Needs::See, queue::message_page)
        .post("/queue/disaster", Needs::ActOnAll, queue::disaster_button)
        .post("/queue/{id}", Needs::Act, queue::button)
        .get("/api/v1/queue", Needs::See, queue::list)
        .post("/api/v1/queue/disaster", Needs::ActOnAll, queue::disaster)
        .get("/api/v1/queue/{id}", Needs::See, queue::message)
        .post("/api/v1/queue/{id}", Needs::Act, queue::order)
        .get("/quarantine", Needs::See, quarantine::page)
        .post("/quarantine/{verb}", Needs::Act, quarantine::button)
        .get("/api/v1/quarantine", Needs::See, quarantine::list)
        .get("/api/v1/quarantine/{id}", Needs::See, quarantine::message)
        .post("/api/v1/quarantine/{id}", Needs::Act, quarantine::order)
        .get("/block", Needs::SeeAll, block::page)
        .post("/block/{verb}", Needs::ActOnAll, block::button)
        .get("/api/v1/block", Needs::SeeAll, block::list)
        .post("/api/v1/block/{verb}", Needs::ActOnAll, block::order)
        .get("/reports", Needs::See, reports::page)
        .post("/reports/{verb}", Needs::Act, reports::button)
        .get("/api/v1/reports", Needs::See, reports::list)
        .post("/api/v1/reports/{verb}", Needs::Act, reports::order)
        .get("/senders", Needs::See, senders::page)
        .post("/senders/{verb}", Needs::Act, senders::button)
        .get("/api/v1/senders", Needs::See, senders::list)
        .post("/api/v1/senders/{verb}", Needs::Act, senders::order)
}

fn programs(table: Table) -> Table {
    table
        .get("/metrics", Needs::Metrics, answers::metrics)
        .get("/healthz", Needs::Nothing, answers::healthz)
        .get("/readyz", Needs::Nothing, answers::readyz)
        .post("/api/v1/certificates/renew", Needs::Administer, certificates::renew)
        .post("/api/v1/certificates/roll", Needs::Administer, certificates::roll)
        .post("/api/v1/dns/replace-dkim", Needs::Administer, zone::replace_dkim)
        .post_quietly("/api/v1/backup/store", Needs::Administer, answers::write_store_down)
        .post_message("/api/v1/scan", Needs::SeeAll, judging::scan)
        .post_message("/api/v1/learn/{class}", Needs::Administer, judging::learn)
}

fn people(table: Table) -> Table {
    table
        .get("/login", Needs::Nothing, login::page)
        .post_quietly("/login", Needs::Nothing, login::log_in)
        .get("/first", Needs::Nothing, login::first_page)
        .post_quietly("/first", Needs::Nothing, login::redeem)
        .post_quietly("/logout", Needs::Own, login::log_out)
        .get("/account", Needs::Own, account::page)
        .post_quietly("/account/password", Needs::Own, account::password)
        .post_quietly("/account/totp", Needs::Own, account::offer)
        .post_quietly("/account/totp/confirm", Needs::Own, account::enrol)
        .post_quietly("/account/totp/remove", Needs::Own, account::remove_totp)
        .post_quietly("/account/sessions/end", Needs::Own, account::end_session)
        .get("/users", Needs::Administer, users::page)
        .post("/users/{verb}", Needs::Administer, users::button)
        .get("/api/v1/users", Needs::Administer, users::list)
        .post("/api/v1/users/{verb}", Needs::Administer, users::order)
        .get("/api/v1/console", Needs::Administer, users::console)
        .get("/tokens", Needs::Administer, tokens::page)
        .post("/tokens/{verb}", Needs::Administer, tokens::button)
        .get("/api/v1/tokens", Needs::Administer, tokens::list)
        .post("/api/v1/tokens/{verb}", Needs::Administer, tokens::order)
        .get("/audit", Needs::Administer, audit::page)
        .get("/api/v1/audit", Needs::Administer, audit::list)
}
