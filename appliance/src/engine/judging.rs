//! How mail is judged here: what reads it, what others say of it, the model, and what the config makes of all that.
//!
//! A [`Court`] outlives reloads: the model and what is kept of judged mail. A [`Sitting`] is one config's worth and answers
//! the relay. Reports, traps and releases teach the court ([`learning`]).

mod accounts;
mod acquaintance;
mod answers;
mod attachments;
mod blocked;
mod case_body;
mod custody;
mod daily;
mod findings;
mod kept;
mod learning;
mod lists;
mod peers;
mod policies;
mod pressure;
mod reports;
mod scanning;
mod sitting;
mod told;
mod viruses;
mod wishes;

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
use acquaintance::{Acquaintances, Note};
use blocked::{Blocked, NotBlocked};
use daily::Daily;
use kept::Kept;
use learning::{Addresses, Clerk};
pub(super) use lists::is_public;
pub(crate) use peers::Peers;
use pressure::UnderWay;
use reports::Reports;
use sitting::Rules;
pub(super) use sitting::{Sitting, Told};
pub(crate) use viruses::scanner;

use super::error::EngineError;
use super::received::Received;
use crate::report::{BlockedSender, HeldReport, LearningState, NotJudging};
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
    /// What users said of mail.
    reports: Reports,
    /// Senders that a person does not want.
    blocked: Arc<Blocked>,
    daily: Arc<Daily>,
    /// What others report about the domains here.
    received: Arc<Received>,
    report_addresses: Mutex<Addresses>,
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
        (clock, received): (Arc<dyn Clock>, Arc<Received>),
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
        let reports = Reports::new(store.clone());
        let blocked = Blocked::open(store.clone()).await;
        let daily = Daily::start(store.clone(), clock.now()).await;
        let kept = Kept::start(store, (Arc::clone(&model), Arc::clone(&daily)), Arc::clone(&clock));
        tokio::spawn(keep_durable(Arc::clone(&model), Arc::clone(&clock)));
        Ok(Arc::new(Self {
            model,
            kept,
            acquaintances,
            accounts,
            roles,
            clock,
            own_mail: Notify::new(),
            reports,
            blocked,
            daily,
            received,
            report_addresses: Mutex::default(),
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
        *self.report_addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
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
        self.learn_weighing(transaction, class, (source, 1.0), whom).await
    }

    /// The same, for who counts less.
    async fn learn_weighing(
        &self,
        transaction: TransactionId,
        class: Class,
        source: (Source, f32),
        whom: (&str, &str),
    ) -> Option<Learnt> {
        let features = self.kept.features(transaction).await?;
        let learnt = self.learn_features(features, class, source, whom).await;
        if matches!(learnt, Some(Learnt::New | Learnt::Corrected | Learnt::Again)) {
            self.acquaintances.note(Note::Said { transaction, is_spam: class == Class::Spam });
        }
        learnt
    }

    /// Of what kind a message is; one of which that is not known is the only one.
    async fn kind_of(&self, transaction: TransactionId) -> u64 {
        let known = self.kept.kind(transaction).await.filter(|kind| *kind != 0);
        known.unwrap_or_else(|| transaction.session.to_bits() ^ u64::from(transaction.number))
    }

    /// An administrator has said what a message is: reports that say the same count, those that do not were wrong.
    async fn was_decided(&self, transaction: TransactionId, class: Class) {
        let kind = self.kind_of(transaction).await;
        match self.reports.decide((kind, transaction), class, self.clock.now()).await {
            Ok(learn) => self.learn_all(&learn).await,
            Err(error) => tracing::error!(%error, "who was right about a message is not noted"),
        }
    }

    async fn learn_all(&self, reports: &[(TransactionId, Class, f32)]) {
        for (transaction, class, weight) in reports {
            let source = (Source::Report, *weight);
            let learnt = self.learn_weighing(*transaction, *class, source, ("", "")).await;
            tracing::info!(%transaction, ?learnt, "a report that was held is learnt");
        }
    }

    /// Reports that wait for a person; at most so many.
    pub(super) async fn held_reports(&self, most: usize) -> Result<Vec<HeldReport>, NotJudging> {
        self.reports.held(most).await.map_err(|error| NotJudging::Failed(error.to_string()))
    }

    /// A person's word about one of them; whether there is one of that name.
    pub(super) async fn settle_report(&self, id: &str, accepts: bool) -> Result<bool, NotJudging> {
        let settled = self.reports.settle(id, accepts, self.clock.now()).await;
        let Some(learn) = settled.map_err(|error| NotJudging::Failed(error.to_string()))? else {
            return Ok(false);
        };
        self.learn_all(&learn).await;
        Ok(true)
    }

    async fn learn_features(
        &self,
        features: Features,
        class: Class,
        (source, weight): (Source, f32),
        (domain, user): (&str, &str),
    ) -> Option<Learnt> {
        let (model, daily, now) = (Arc::clone(&self.model), Arc::clone(&self.daily), self.clock.now());
        let (domain, user) = (domain.to_owned(), user.to_owned());
        let learnt = tokio::task::spawn_blocking(move || {
            let whom = Whom { domain: &domain, user: &user };
            teach(&model, &daily, &Lesson { features: &features, class, source, weight, whom, now })
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
        let now = self.clock.now();
        self.accounts.went(event, now);
        if let record::Event::Transaction(one) = event
            && one.opinion.is_some()
        {
            self.daily.judged(one.verdict, now);
        }
    }

    /// A person let a message out of the quarantine: it is ham, for its recipient too.
    pub(super) fn was_released(self: &Arc<Self>, transaction: TransactionId) {
        let court = Arc::clone(self);
        tokio::spawn(async move {
            let learnt = court.learn(transaction, Class::Ham, Source::Release, ("", "")).await;
            court.was_decided(transaction, Class::Ham).await;
            tracing::info!(%transaction, ?learnt, "released from the quarantine, and learnt as ham");
        });
    }

    /// A person says that what the quarantine holds is spam.
    pub(super) fn was_reported(self: &Arc<Self>, transaction: TransactionId) {
        let court = Arc::clone(self);
        tokio::spawn(async move {
            let learnt = court.learn(transaction, Class::Spam, Source::Administrator, ("", "")).await;
            court.was_decided(transaction, Class::Spam).await;
            tracing::info!(%transaction, ?learnt, "reported from the quarantine, and learnt as spam");
        });
    }

    /// How the classifier does.
    pub(super) fn learning(&self) -> LearningState {
        self.daily.told(self.model.learned(), self.clock.now())
    }

    pub(super) fn blocked(&self) -> Vec<BlockedSender> {
        self.blocked.list()
    }

    /// Nothing more from an address or a domain. Whether it is new.
    pub(super) async fn block(&self, entry: &str) -> Result<bool, NotJudging> {
        self.blocked.add(entry, self.clock.now()).await.map_err(not_blocked)
    }

    /// It may write again. Whether it was blocked.
    pub(super) async fn unblock(&self, entry: &str) -> Result<bool, NotJudging> {
        self.blocked.remove(entry).await.map_err(not_blocked)
    }

    /// At the end of the program: nothing that was learnt is lost.
    pub(super) async fn close(&self) {
        let (model, now) = (Arc::clone(&self.model), self.clock.now());
        let written = tokio::task::spawn_blocking(move || model.tick(now).and_then(|()| model.snapshot(now)));
        if let Ok(Err(error)) = written.await {
            tracing::error!(%error, "the last lessons are not on disk");
        }
        if let Err(error) = self.daily.put_away().await {
            tracing::error!(%error, "the last counts of the day are not stored");
        }
        if let Err(error) = self.accounts.put_away().await {
            tracing::error!(%error, "what was last known of senders is not stored");
        }
    }
}

/// Teaches, and counts whether the classifier knew it before.
fn teach(model: &Model, daily: &Daily, lesson: &Lesson<'_>) -> Result<Learnt, judge::JudgeError> {
    let before = model.score(lesson.features, lesson.whom, lesson.now).probability;
    let learnt = model.learn(lesson)?;
    if matches!(learnt, Learnt::New | Learnt::Corrected) {
        daily.taught(before, lesson.class, lesson.now);
    }
    Ok(learnt)
}

fn not_blocked(why: NotBlocked) -> NotJudging {
    match why {
        NotBlocked::Nonsense => NotJudging::Wrong("an entry is a mail address or a domain"),
        NotBlocked::Full => NotJudging::Wrong("the list is full: 10,000 entries"),
        NotBlocked::Store => NotJudging::Failed("it is not stored: see the log".into()),
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
