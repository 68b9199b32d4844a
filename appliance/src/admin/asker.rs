//! Who asks. The guard finds it out once for each request; handlers and pages look here.
//!
//! It goes along with the task of the request, so that no handler has to hand it on and none can forget to: where it is not
//! known (another task), there is nobody, who may do nothing.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use crate::access::{Known, Needs, Rights, Session, Sight, UserName};

/// By which door a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `admin.listen`, with or without TLS.
    Web { tls: bool },
    /// The socket in the state folder, which the kernel opens to Postern's user and root alone; of that user.
    Command { user: u32 },
}

/// How a connection came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) door: Door,
    pub(super) peer: IpAddr,
    /// Where it arrived.
    pub(super) local: SocketAddr,
}

/// Who somebody is.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// Nobody who is known.
    Nobody,
    /// Whoever it is, in a demo.
    Anybody,
    /// A user in a browser.
    User { name: UserName, session: Session },
    /// A program with an API token.
    Token(Known),
    /// The command line, by the user's number.
    Command(u32),
}

/// Who asks, and what they may.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) who: Who,
    pub(super) rights: Rights,
    pub(super) came: Came,
    /// What is answered is a form: a page that cannot be asked for again.
    pub(super) sends: bool,
}

impl Asker {
    /// For the trail.
    pub(super) fn words(&self) -> String {
        match &self.who {
            Who::Nobody => "nobody".to_owned(),
            Who::Anybody => "demo".to_owned(),
            Who::User { name, .. } => name.to_string(),
            Who::Token(known) => known.name.clone(),
            Who::Command(user) => format!("command line (user {user})"),
        }
    }

    /// For the trail; empty for the command line.
    pub(super) fn address(&self) -> String {
        match self.came.door {
            Door::Web { .. } => self.came.peer.to_canonical().to_string(),
            Door::Command { .. } => String::new(),
        }
    }

    /// The user in whose right it asks; nobody for the command line.
    pub(super) fn owner(&self) -> Option<UserName> {
        match &self.who {
            Who::User { name, .. } => Some(name.clone()),
            Who::Token(known) => known.owner.clone(),
            Who::Nobody | Who::Anybody | Who::Command(_) => None,
        }
    }

    /// The user, if it is one with a browser.
    pub(super) fn user(&self) -> Option<(&UserName, &Session)> {
        match &self.who {
            Who::User { name, session } => Some((name, session)),
            _ => None,
        }
    }
}

tokio::task_local! {
    static ASKER: Asker;
}

/// Does something for somebody.
pub(super) async fn on_behalf<T>(asker: Asker, work: impl Future<Output = T>) -> T {
    ASKER.scope(asker, work).await
}

/// Whoever asks in this task.
pub(super) fn asker() -> Option<Asker> {
    ASKER.try_with(Asker::clone).ok()
}

/// Whether whoever asks may do what needs this.
pub(super) fn may(needs: Needs) -> bool {
    ASKER.try_with(|asker| asker.rights.suffice(needs)).unwrap_or(false)
}

/// Whose mail is seen by whoever asks; without anybody nobody's.
pub(super) fn sight() -> Sight {
    let nothing = || Sight::Domains(std::collections::BTreeSet::new());
    ASKER.try_with(|asker| asker.rights.sight().cloned()).ok().flatten().unwrap_or_else(nothing)
}
