//! The config as it is edited by the page, the API and `postern config`: shown without its secrets, checked as `postern check` does,
//! compared with what serves, put in place, and taken back.
//!
//! Who serves the page may write no config. It asks the engine, which tries the config and has it written by
//! whoever may: the guard ([`place`] is what that one does), the keeper of the rule set, or, in one process, itself.

pub(crate) mod difference;
pub(crate) mod fixed;
pub(crate) mod history;
pub mod place;
pub(crate) mod single;
pub(crate) mod veil;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::config::{self, Config, ConfigError, Problem};
use difference::Line;
use history::{By, Change, History, Whole};
use place::{Digest, Refusal};

/// Changes that wait for the one before them.
const WAITING: usize = 4;

/// A change as the engine is told of it.
#[derive(Debug)]
pub(crate) struct Order {
    /// The whole text, with its secrets.
    pub(crate) text: String,
    /// What it takes the place of.
    pub(crate) base: Digest,
    pub(crate) by: By,
    pub(crate) answer: oneshot::Sender<Result<Change, No>>,
}

/// Where the engine takes orders from.
pub(crate) type Orders = mpsc::Receiver<Order>;

/// Why nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum No {
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Not what `postern check` takes.
    #[error("{}", .0.iter().map(in_words).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<Problem>),
    /// It was tried, and is not in force.
    #[error("it cannot be put in force, and the config stays as it was: {0}")]
    Failed(String),
    /// Not as it may be.
    #[error("{0}")]
    Unfit(String),
    #[error("there is nothing to change: the text is the one that serves")]
    Same,
    #[error("there is no such change; the last {} are kept", history::KEPT)]
    Unknown,
}

/// Without the file, which whoever edits knows.
pub(crate) fn in_words(problem: &Problem) -> String {
    let Problem { line, column, key, wrong, expected, nearest, .. } = problem;
    let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
    let nearest = nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    format!("line {line}, column {column}: {key}{wrong}; expected {expected}{nearest}")
}

/// The config as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Without secrets.
    pub(crate) text: String,
    pub(crate) base: Digest,
    /// Whether it may be edited.
    pub(crate) edit: bool,
}

/// A text that could be put in place.
#[derive(Debug)]
pub(crate) struct Checked {
    /// With its secrets.
    pub(crate) text: String,
    pub(crate) base: Digest,
    pub(crate) difference: Vec<Line>,
    /// What counts from a restart on.
    pub(crate) later: Vec<&'static str>,
    /// Keys without effect.
    pub(crate) inactive: Vec<String>,
}

/// All of it, for whoever serves the page.
#[derive(Clone, Debug)]
pub struct Settings {
    file: PathBuf,
    history: History,
    orders: mpsc::Sender<Order>,
}

impl Settings {
    /// Of a config file; the second is for the engine.
    pub(crate) fn new(file: &Path, state_dir: &Path) -> (Arc<Self>, Orders) {
        let (orders, taken) = mpsc::channel(WAITING);
        (Arc::new(Self { file: file.to_owned(), history: History::new(state_dir), orders }), taken)
    }

    /// From where the config comes.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, No> {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&own)).await;
        done.map_err(|error| No::Failed(error.to_string()))
    }

    /// As the file is now.
    pub(crate) async fn present(&self) -> Result<Shown, No> {
        let text = self.blocking(|own| place::read(&own.file)).await??;
        let unreadable = |error: String| {
            No::Unfit(format!("the config file is wrong as it is now ({error}); `postern check` says where"))
        };
        Ok(Shown {
            base: Digest::of(&text),
            edit: place::may_edit(&text),
            text: veil::veiled(&text).map_err(unreadable)?,
        })
    }

    /// Looks at a text that was edited, as it was shown: without secrets.
    pub(crate) async fn check(&self, edited: String, base: String) -> Result<Checked, No> {
        self.blocking(move |own| {
            let present = own.seen(&base)?;
            let text = veil::unveiled(&edited.replace("\r\n", "\n"), &present).map_err(No::Unfit)?;
            own.checked(&present, text)
        })
        .await?
    }

    /// The text that serves with one key changed.
    pub(crate) async fn with_key(
        &self,
        (section, number, key): (String, usize, String),
        value: String,
        base: Option<String>,
    ) -> Result<Checked, No> {
        self.blocking(move |own| {
            let present = match base {
                Some(base) => own.seen(&base)?,
                None => place::read(&own.file)?,
            };
            let named = single::Named { section: &section, number, key: &key };
            let text = single::set(&present, &named, &value).map_err(No::Unfit)?;
            own.checked(&present, text)
        })
        .await?
    }

    /// A checked text as it is edited: what is secret in the file is a stand-in.
    pub(crate) async fn stand_ins(&self, checked: &Checked) -> Result<String, No> {
        let text = checked.text.clone();
        self.blocking(move |own| veil::stood_in(&text, &place::read(&own.file)?).map_err(No::Unfit)).await?
    }

    /// What it would be to undo a change: the text from before it.
    pub(crate) async fn undoing(&self, number: u64, base: Option<String>) -> Result<Checked, No> {
        self.blocking(move |own| {
            let present = match base {
                Some(base) => own.seen(&base)?,
                None => place::read(&own.file)?,
            };
            own.checked(&present, own.history.one(number).ok_or(No::Unknown)?.before)
        })
        .await?
    }

    /// The file's text, if it is the one that was shown.
    fn seen(&self, base: &str) -> Result<String, No> {
        let present = place::read(&self.file)?;
        if Digest::of(&present).words() == base { Ok(present) } else { Err(Refusal::Changed.into()) }
    }

    fn checked(&self, present: &str, text: String) -> Result<Checked, No> {
        if text.len() > place::MAX_TEXT {
            return Err(Refusal::TooLong.into());
        }
        if text == present {
            return Err(No::Same);
        }
        let new = config::parse(&text, &self.file).map_err(|error| match error {
            ConfigError::Wrong(problems) => No::Wrong(problems),
            other @ ConfigError::Unreadable { .. } => No::Unfit(other.to_string()),
        })?;
        fixed::look(present, &text).map_err(No::Unfit)?;
        let later = config::parse(present, &self.file).map(|old| later(&old, &new)).unwrap_or_default();
        let (before, after) = veil::both_veiled(present, &text).map_err(No::Unfit)?;
        Ok(Checked {
            difference: difference::difference(&before, &after),
            base: Digest::of(present),
            later,
            inactive: new.inactive.iter().map(|one| format!("{}: {}", one.key, one.meaning)).collect(),
            text,
        })
    }

    /// Puts a text in force that was checked, and in place.
    pub(crate) async fn change(&self, checked: Checked, by: By) -> Result<Change, No> {
        let (answer, answered) = oneshot::channel();
        let order = Order { text: checked.text, base: checked.base, by, answer };
        self.orders.try_send(order).map_err(|_| Refusal::Soon)?;
        answered.await.unwrap_or_else(|_| Err(Refusal::Silent.into()))
    }

    /// The changes that are kept, the latest first.
    pub(crate) async fn history(&self) -> Result<Vec<Change>, No> {
        self.blocking(|own| own.history.list()).await
    }

    /// One of them.
    pub(crate) async fn one(&self, number: u64) -> Result<Whole, No> {
        self.blocking(move |own| own.history.one(number)).await?.ok_or(No::Unknown)
    }
}

/// Keys that have changed and count from a restart on.
fn later(old: &Config, new: &Config) -> Vec<&'static str> {
    let gone = old.listeners.iter().any(|one| new.listeners.iter().all(|other| other.address != one.address));
    let same = [
        ("[[listener]], where one is gone", !gone),
        ("[admin] listen", old.admin.listen == new.admin.listen),
        ("[admin] networks", old.admin.networks == new.admin.networks),
        ("[log] syslog", old.log.syslog == new.log.syslog),
        ("[queue] max_size", old.queue.max_size == new.queue.max_size),
        ("[limits] in_flight", old.limits.in_flight == new.limits.in_flight),
        ("[trace] keep", old.trace.keep == new.trace.keep),
        ("[trace] max_size", old.trace.max_size == new.trace.max_size),
        (
            "[outbound] dkim.selector_prefix",
            old.outbound.dkim.selector_prefix == new.outbound.dkim.selector_prefix,
        ),
    ];
    same.into_iter().filter_map(|(key, same)| (!same).then_some(key)).collect()
}
