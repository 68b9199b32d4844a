//! How mail is judged here: what reads it, what others say of it, the model, and what the config makes of all that.
//!
//! A [`Court`] outlives reloads: the model and what is kept of judged mail. A [`Sitting`] is one config's worth and answers
//! the relay. Reports, traps and releases teach the court ([`learning`]).

mod accounts;
mod acquaintance;
mod attachments;
mod case_body;
mod custody;
mod findings;
mod kept;
mod learning;
mod lists;
mod looks;
mod own_mail;
mod peers;
mod phishing;
mod pressure;
mod scanning;
mod sitting;
mod viruses;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use judge::{Class, Features, Learnt, Lesson, Model, Source, Whom};
use record::Clock;
use relay::{Relay, Strain};
use smtp::TransactionId;
use tokio::sync::Notify;
use tokio::time::Instant;

use accounts::{Accounts, Teller};
use acquaintance::Acquaintances;
use kept::Kept;
use learning::{Addresses, Clerk};
use pressure::UnderWay;
use sitting::Rules;
pub(super) use sitting::Sitting;

use super::error::EngineError;
use crate::roles::Roles;

/// How often the model is made durable: what a crash can lose.
const TICK: Duration = Duration::from_secs(1);

/// What outlives a reload.
pub(super) struct Court {
    model: Arc<Model>,
    kept: Arc<Kept>,
    acquaintances: Acquaintances,
    /// Who sends from here.
    pub(super) accounts: Arc<Accounts>,
    roles: Arc<Roles>,
    clock: Arc<dyn Clock>,
    /// Reports or traps have come.
    own_mail: Notify,
    reports: Mutex<Addresses>,
    /// By which messages are judged that somebody hands in: those of the present config.
    rules: Mutex<Option<Arc<Rules>>>,
    /// Somebody deals with them.
    has_clerk: AtomicBool,
    under_way: UnderWay,
}

impl Court {
    /// Opens the model; damage is told in the log and stops nothing.
    pub(super) async fn open(
        state_dir: &Path,
        store: store::Store,
        roles: Arc<Roles>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, EngineError> {
        let folder = state_dir.join("model");
        let opened = Model::open(&folder, judge::Settings::default(), clock.now());
        let (model, recovered) = opened.map_err(|error| EngineError::Model(error.to_string()))?;
        if recovered.cut > 0 || recovered.snapshot_lost {
            tracing::warn!(?recovered, "the model was not put away in order; what it lost is learnt again");
        }
        let model = Arc::new(model);
        let acquaintances = Acquaintances::start(store.clone(), Arc::clone(&clock));
        let accounts = Accounts::open(store.clone(), clock.now()).await;
        let kept = Kept::start(store, Arc::clone(&model), Arc::clone(&clock));
        tokio::spawn(keep_durable(Arc::clone(&model), Arc::clone(&clock)));
        Ok(Arc::new(Self {
            model,
            kept,
            acquaintances,
            accounts,
            roles,
            clock,
            own_mail: Notify::new(),
            reports: Mutex::default(),
            rules: Mutex::default(),
            has_clerk: AtomicBool::new(false),
            under_way: UnderWay::default(),
        }))
    }

    /// How far it is behind: more mail is not let in while verdicts come late, or while there is nobody to read it.
    pub(super) fn strain(&self) -> Strain {
        let reading = self.roles.workers().map_or(Strain::None, |workers| pressure::of_readers(workers));
        self.under_way.strain(Instant::now()).max(reading)
    }

    /// Where users report to, by the present config.
    pub(super) fn reports_go_to(&self, spam: &str, ham: &str) {
        let addresses = Addresses { spam: spam.to_lowercase(), ham: ham.to_lowercase() };
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Deals with what comes for Postern itself, until the relay drains; once, however often it is asked to.
    pub(super) fn employ_clerk(self: &Arc<Self>, relay: &Arc<Relay>) {
        if !self.has_clerk.swap(true, Ordering::Relaxed) {
            tokio::spawn(Clerk::new(Arc::clone(self), Arc::clone(relay)).work());
            let teller = Teller::new(Arc::clone(&self.accounts), Arc::clone(relay), Arc::clone(&self.clock));
            tokio::spawn(teller.work());
        }
    }

    /// Learns a message that was judged here; `None` if nothing of it is kept (any more).
    pub(super) async fn learn(
        &self,
        transaction: TransactionId,
        class: Class,
        source: Source,
        whom: (&str, &str),
    ) -> Option<Learnt> {
        let features = self.kept.features(transaction).await?;
        self.learn_features(features, class, source, whom).await
    }

    async fn learn_features(
        &self,
        features: Features,
        class: Class,
        source: Source,
        (domain, user): (&str, &str),
    ) -> Option<Learnt> {
        let (model, now) = (Arc::clone(&self.model), self.clock.now());
        let (domain, user) = (domain.to_owned(), user.to_owned());
        let learnt = tokio::task::spawn_blocking(move || {
            let whom = Whom { domain: &domain, user: &user };
            model.learn(&Lesson { features: &features, class, source, weight: 1.0, whom, now })
        });
        match learnt.await {
            Ok(Ok(learnt)) => Some(learnt),
            Ok(Err(error)) => {
                tracing::error!(%error, "what was learnt is not on disk");
                None
            }
            Err(error) => {
                tracing::error!(%error, "a lesson broke off");
                None
            }
        }
    }

    /// What became of mail: refusals count against its senders.
    pub(super) fn hears_of(&self, event: &record::Event) {
        self.accounts.went(event, self.clock.now());
    }

    /// A person let a message out of the quarantine: it is ham, for its recipient too.
    pub(super) fn was_released(self: &Arc<Self>, transaction: TransactionId) {
        let court = Arc::clone(self);
        tokio::spawn(async move {
            let learnt = court.learn(transaction, Class::Ham, Source::Release, ("", "")).await;
            tracing::info!(%transaction, ?learnt, "released from the quarantine, and learnt as ham");
        });
    }

    /// At the end of the program: nothing that was learnt is lost.
    pub(super) async fn close(&self) {
        let (model, now) = (Arc::clone(&self.model), self.clock.now());
        let written = tokio::task::spawn_blocking(move || model.tick(now).and_then(|()| model.snapshot(now)));
        if let Ok(Err(error)) = written.await {
            tracing::error!(%error, "the last lessons are not on disk");
        }
        if let Err(error) = self.accounts.put_away().await {
            tracing::error!(%error, "what was last known of senders is not stored");
        }
    }
}

async fn keep_durable(model: Arc<Model>, clock: Arc<dyn Clock>) {
    let weak = Arc::downgrade(&model);
    drop(model);
    loop {
        tokio::time::sleep(TICK).await;
        let Some(model) = weak.upgrade() else { return };
        let now = clock.now();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || model.tick(now)).await {
            tracing::error!(%error, "what was learnt is not on disk yet");
        }
    }
}
