//! Sessions of browsers: in memory, bounded in number and in life.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::Client;
use super::rights::UserName;
use super::secret::{self, Digest};

/// Of all users.
const MAX_SESSIONS: usize = 2000;
/// Of one user: the one that was not used for longest goes.
const MAX_OF_USER: usize = 16;
/// Not used for so long: ended. What the page's script asks by itself is no use.
const IDLE: Duration = Duration::from_secs(2 * 3600);
/// From the login on, whatever happens.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// Characters of what a browser calls itself.
const MAX_AGENT: usize = 160;

/// A session that begins.
#[derive(Debug)]
pub(crate) struct Opened {
    /// For the cookie.
    pub(crate) secret: String,
    /// For how long at most.
    pub(crate) life: Duration,
}

/// One that is under way.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Session {
    /// By which it is named, to be ended.
    pub(crate) id: String,
    pub(crate) user: UserName,
    /// What each form of it carries.
    #[serde(skip)]
    pub(crate) token: String,
    /// The secret of a second factor that was offered after its user gave the password.
    #[serde(skip)]
    pub(crate) offered: Option<String>,
    pub(crate) from: String,
    pub(crate) agent: String,
    pub(crate) began: u64,
    pub(crate) used: u64,
}

impl Session {
    fn is_over(&self, now: Duration) -> bool {
        let now = now.as_secs();
        now.saturating_sub(self.began) >= LIFE.as_secs() || now.saturating_sub(self.used) >= IDLE.as_secs()
    }
}

#[derive(Default)]
pub(super) struct Sessions {
    open: HashMap<Digest, Session>,
}

impl Sessions {
    /// Always a new secret: what a browser brought along before its login means nothing afterwards.
    pub(super) fn open(&mut self, user: UserName, client: &Client, now: Duration) -> Opened {
        self.open.retain(|_, session| !session.is_over(now));
        while self.of(&user).count() >= MAX_OF_USER {
            let longest = self.of(&user).min_by_key(|(_, session)| session.used).map(|(digest, _)| *digest);
            longest.map(|digest| self.open.remove(&digest));
        }
        if self.open.len() >= MAX_SESSIONS {
            let longest = self.open.iter().min_by_key(|(_, session)| session.used).map(|(digest, _)| *digest);
            longest.map(|digest| self.open.remove(&digest));
        }
        let secret = secret::secret();
        let digest = Digest::of(&secret);
        let printable = |letter: &char| letter.is_ascii_graphic() || *letter == ' ';
        let session = Session {
            id: digest.label(),
            user,
            token: secret::secret(),
            offered: None,
            from: client.address.to_canonical().to_string(),
            agent: client.agent.chars().filter(printable).take(MAX_AGENT).collect(),
            began: now.as_secs(),
            used: now.as_secs(),
        };
        self.open.insert(digest, session);
        Opened { secret, life: LIFE }
    }

    fn of<'a>(&'a self, user: &'a UserName) -> impl Iterator<Item = (&'a Digest, &'a Session)> {
        self.open.iter().filter(move |(_, session)| session.user == *user)
    }

    pub(super) fn find(&mut self, digest: &Digest, now: Duration, is_use: bool) -> Option<Session> {
        let session = self.open.get_mut(digest)?;
        if session.is_over(now) {
            self.open.remove(digest);
            return None;
        }
        if is_use {
            session.used = now.as_secs();
        }
        Some(session.clone())
    }

    /// Remembers what was offered in a session, in place of what was before.
    pub(super) fn offers(&mut self, user: &UserName, id: &str, secret: Option<String>) {
        let mut all = self.open.values_mut();
        if let Some(session) = all.find(|session| session.user == *user && session.id == id) {
            session.offered = secret;
        }
    }

    /// The latest first.
    pub(super) fn list(&self, user: &UserName, now: Duration) -> Vec<Session> {
        let open = self.of(user).map(|(_, session)| session.clone());
        let mut open: Vec<_> = open.filter(|session| !session.is_over(now)).collect();
        open.sort_by_key(|session| std::cmp::Reverse(session.used));
        open
    }

    /// Whether there was one.
    pub(super) fn end(&mut self, user: &UserName, id: &str) -> bool {
        let before = self.open.len();
        self.open.retain(|_, session| session.user != *user || session.id != id);
        self.open.len() < before
    }

    /// All of a user but the one that is named.
    pub(super) fn end_all(&mut self, user: &UserName, but: Option<&str>) {
        self.open.retain(|_, session| session.user != *user || Some(session.id.as_str()) == but);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_795_288_205);

    fn client() -> Client {
        Client { address: "192.0.2.1".parse().unwrap(), agent: "Agent\r\n<b>".repeat(40) }
    }

    fn open(sessions: &mut Sessions, user: &str, now: Duration) -> Digest {
        Digest::of(&sessions.open(user.parse().unwrap(), &client(), now).secret)
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_and_in_any_case() {
        let mut sessions = Sessions::default();
        let digest = open(&mut sessions, "ann", START);
        let nearly = IDLE - Duration::from_secs(1);
        let mut now = START;
        while now + nearly < START + LIFE {
            now += nearly;
            assert!(sessions.find(&digest, now, true).is_some());
        }
        assert!(sessions.find(&digest, START + LIFE, true).is_none(), "its life is over");
        let digest = open(&mut sessions, "ann", START);
        assert!(sessions.find(&digest, START + nearly, false).is_some());
        assert!(sessions.find(&digest, START + IDLE, false).is_none(), "being renewed is no use");
    }

    #[test]
    fn there_are_only_so_many_and_their_names_are_clean() {
        let mut sessions = Sessions::default();
        let first = open(&mut sessions, "ann", START);
        for second in 1..=MAX_OF_USER as u64 {
            open(&mut sessions, "ann", START + Duration::from_secs(second));
        }
        let ann = "ann".parse().unwrap();
        let list = sessions.list(&ann, START);
        assert_eq!(list.len(), MAX_OF_USER);
        assert!(sessions.find(&first, START, true).is_none());
        assert!(list[0].agent.len() <= MAX_AGENT && !list[0].agent.contains('\n'));
        for number in 0..MAX_SESSIONS {
            open(&mut sessions, &format!("user{number}"), START + Duration::from_secs(60));
        }
        assert_eq!(sessions.open.len(), MAX_SESSIONS);
        sessions.end_all(&ann, None);
        assert!(sessions.list(&ann, START).is_empty());
        let before = sessions.open.len();
        let of_user = sessions.list(&"user5".parse().unwrap(), START);
        assert!(!sessions.end(&ann, &of_user[0].id), "of somebody else");
        assert!(sessions.end(&"user5".parse().unwrap(), &of_user[0].id));
        assert_eq!(sessions.open.len(), before - 1);
    }
}
