//! Roles, and what follows from them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::AccessError;

/// Octets of a name.
const MAX_NAME: usize = 64;
/// Domains of one user or token.
const MAX_DOMAINS: usize = 1000;

/// A user's name: no character of it means anything to HTML, a shell, a log or a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl FromStr for UserName {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let name = text.trim().to_ascii_lowercase();
        let is_good =
            |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"._-@".contains(&octet);
        let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_good);
        if is_name { Ok(Self(name)) } else { Err(AccessError::Name) }
    }
}

impl TryFrom<String> for UserName {
    type Error = AccessError;

    fn try_from(text: String) -> Result<Self, AccessError> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Of whose mail somebody sees something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Everybody's.
    All,
    /// Of these domains, in lower case.
    Domains(BTreeSet<String>),
}

impl Sight {
    /// Of the domains that are named; of all where none is.
    ///
    /// # Errors
    ///
    /// Something is no domain, or there are more than can be kept.
    pub fn of(domains: &[String]) -> Result<Self, AccessError> {
        if domains.len() > MAX_DOMAINS {
            return Err(AccessError::TooMany);
        }
        let read =
            |domain: &String| domain.trim().parse::<smtp::Domain>().map(|domain| domain.as_str().to_owned());
        let domains: Result<BTreeSet<_>, _> =
            domains.iter().filter(|domain| !domain.trim().is_empty()).map(read).collect();
        let domains = domains.map_err(|_| AccessError::Role("a domain is a name such as example.net"))?;
        Ok(if domains.is_empty() { Self::All } else { Self::Domains(domains) })
    }

    /// Whether this is a domain that is seen.
    pub fn has(&self, domain: &str) -> bool {
        match self {
            Self::All => true,
            Self::Domains(domains) => domains.contains(&domain.to_ascii_lowercase()),
        }
    }

    /// Whether this is an address in such a domain.
    pub fn has_address(&self, address: &str) -> bool {
        match self {
            Self::All => true,
            Self::Domains(_) => address.rsplit_once('@').is_some_and(|(_, domain)| self.has(domain)),
        }
    }

    /// The domains; none where all are seen.
    pub fn domains(&self) -> Vec<String> {
        match self {
            Self::All => Vec::new(),
            Self::Domains(domains) => domains.iter().cloned().collect(),
        }
    }
}

/// What a user is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May do everything.
    Administrator,
    /// May do with the mail of some domains what the page offers.
    DomainAdministrator(BTreeSet<String>),
    /// Looks, and changes nothing.
    Viewer(Sight),
}

impl Role {
    /// By its name, with the domains that it is for.
    ///
    /// # Errors
    ///
    /// There is no such role, or the domains do not go with it.
    pub fn of(name: &str, domains: &[String]) -> Result<Self, AccessError> {
        let sight = Sight::of(domains)?;
        match (name, sight) {
            ("administrator", Sight::All) => Ok(Self::Administrator),
            ("administrator", _) => Err(AccessError::Role("an administrator has no domains: all are theirs")),
            ("domain-administrator", Sight::Domains(domains)) => Ok(Self::DomainAdministrator(domains)),
            ("domain-administrator", Sight::All) => {
                Err(AccessError::Role("a domain administrator needs at least one domain"))
            }
            ("viewer", sight) => Ok(Self::Viewer(sight)),
            _ => Err(AccessError::Role("a role is administrator, domain-administrator or viewer")),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::DomainAdministrator(_) => "domain-administrator",
            Self::Viewer(_) => "viewer",
        }
    }

    /// The domains that it is for; none: all.
    pub fn domains(&self) -> Vec<String> {
        match self {
            Self::Administrator => Vec::new(),
            Self::DomainAdministrator(domains) => domains.iter().cloned().collect(),
            Self::Viewer(sight) => sight.domains(),
        }
    }

    /// Whether it is for nothing but what somebody has who manages these domains.
    pub(super) fn is_within(&self, reach: &Sight) -> bool {
        let Sight::Domains(own) = reach else { return true };
        match self {
            Self::Administrator | Self::Viewer(Sight::All) => false,
            Self::DomainAdministrator(domains) | Self::Viewer(Sight::Domains(domains)) => {
                domains.is_subset(own)
            }
        }
    }

    /// What follows from it.
    pub fn rights(&self) -> Rights {
        let (sight, acts) = match self {
            Self::Administrator => return Rights::all(),
            Self::DomainAdministrator(domains) => (Sight::Domains(domains.clone()), true),
            Self::Viewer(sight) => (sight.clone(), false),
        };
        let manages = acts;
        Rights { metrics: sight == Sight::All, sees: Some(sight), acts, manages, administers: false }
    }
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// `/metrics`.
    Metrics,
    /// To see what a viewer sees.
    Read,
    /// To do with mail what the page offers.
    Write,
    /// Everything.
    Administer,
}

impl Scope {
    /// All of them, the narrowest first.
    pub const ALL: [Self; 4] = [Self::Metrics, Self::Read, Self::Write, Self::Administer];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::Write => "write",
            Self::Administer => "administer",
        }
    }
}

impl FromStr for Scope {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or(AccessError::Role("a scope is metrics, read, write or administer"))
    }
}

/// What somebody may.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rights {
    pub(super) metrics: bool,
    pub(super) sees: Option<Sight>,
    pub(super) acts: bool,
    /// Users and lists of the domains that are seen.
    pub(super) manages: bool,
    pub(super) administers: bool,
}

impl Rights {
    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything.
    pub fn all() -> Self {
        Self { metrics: true, sees: Some(Sight::All), acts: true, manages: true, administers: true }
    }

    /// What these scopes give together.
    pub(super) fn of_scopes(scopes: &BTreeSet<Scope>, sight: &Sight) -> Self {
        let has = |scope| scopes.contains(&scope);
        if has(Scope::Administer) && *sight == Sight::All {
            return Self::all();
        }
        let sees = has(Scope::Read) || has(Scope::Write) || has(Scope::Administer);
        Self {
            metrics: has(Scope::Metrics),
            sees: sees.then(|| sight.clone()),
            acts: has(Scope::Write) || has(Scope::Administer),
            // People, who have a role, manage; programs write.
            manages: false,
            administers: false,
        }
    }

    /// Whose mail is seen; `None`: nobody's.
    pub fn sight(&self) -> Option<&Sight> {
        self.sees.as_ref()
    }

    /// Whether this is enough.
    pub fn suffice(&self, needs: Needs) -> bool {
        let sees_all = self.sees == Some(Sight::All);
        match needs {
            Needs::Nothing => true,
            Needs::Metrics => self.metrics,
            Needs::Own | Needs::See => self.sees.is_some(),
            Needs::SeeAll => sees_all,
            Needs::Act => self.acts && self.sees.is_some(),
            Needs::ActOnAll => self.acts && sees_all,
            Needs::Manage => self.manages && self.sees.is_some(),
            Needs::Administer => self.administers,
        }
    }
}

/// What a path needs of whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Whoever can connect may.
    Nothing,
    /// The numbers for a scraper.
    Metrics,
    /// To be logged in as a user, for what is one's own.
    Own,
    /// To see some mail: the handler leaves out what is not seen.
    See,
    /// To see everybody's.
    SeeAll,
    /// To do something with mail: the handler refuses what is not one's own.
    Act,
    /// To do something that is about everybody's mail.
    ActOnAll,
    /// To be an administrator, of some domains at least: the handler refuses what is not one's own.
    Manage,
    /// To be an administrator.
    Administer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_nothing_to_anybody_else() {
        assert_eq!(" Ann.B@example.net ".parse::<UserName>().unwrap().to_string(), "ann.b@example.net");
        for name in ["", "a b", "<b>", "a\n", "ä", "../x", "a'b", &"x".repeat(65)] {
            // A line feed at the end is trimmed like a space.
            assert!(name == "a\n" || name.parse::<UserName>().is_err(), "{name}");
        }
    }

    #[test]
    fn roles_have_the_domains_that_go_with_them() {
        let some = ["Example.NET".to_owned()];
        assert!(Role::of("administrator", &some).is_err() && Role::of("domain-administrator", &[]).is_err());
        assert!(Role::of("root", &[]).is_err() && Role::of("viewer", &["no domain".to_owned()]).is_err());
        let role = Role::of("domain-administrator", &some).unwrap();
        let rights = role.rights();
        let sight = rights.sight().unwrap();
        assert!(
            sight.has("example.net")
                && sight.has_address("x@EXAMPLE.net")
                && !sight.has_address("example.net")
        );
        assert!(!sight.has("example.org") && !sight.has_address("a@example.net@example.org"));
        for (needs, may) in [
            (Needs::See, true),
            (Needs::Act, true),
            (Needs::Manage, true),
            (Needs::SeeAll, false),
            (Needs::ActOnAll, false),
            (Needs::Metrics, false),
            (Needs::Administer, false),
        ] {
            assert_eq!(rights.suffice(needs), may, "{needs:?}");
        }
        let viewer = Role::of("viewer", &[]).unwrap().rights();
        assert!(viewer.suffice(Needs::SeeAll) && !viewer.suffice(Needs::Act));
        assert!(!viewer.suffice(Needs::Manage));
    }

    #[test]
    fn who_manages_domains_reaches_roles_for_nothing_else() {
        let role = |name: &str, domains: &[&str]| {
            let domains: Vec<String> = domains.iter().map(|domain| (*domain).to_owned()).collect();
            Role::of(name, &domains).unwrap()
        };
        let reach = role("domain-administrator", &["example.net", "Bücher.example"])
            .rights()
            .sight()
            .cloned()
            .unwrap();
        for (other, may) in [
            (role("viewer", &["Example.Net"]), true),
            (role("viewer", &["xn--bcher-kva.EXAMPLE"]), true),
            (role("domain-administrator", &["example.net", "bücher.example"]), true),
            (role("viewer", &[]), false),
            (role("administrator", &[]), false),
            (role("viewer", &["example.net", "example.org"]), false),
            (role("viewer", &["notexample.net"]), false),
            (role("viewer", &["mail.example.net"]), false),
            (role("domain-administrator", &["net"]), false),
        ] {
            assert_eq!(other.is_within(&reach), may, "{other:?}");
            assert!(other.is_within(&Sight::All));
        }
    }

    #[test]
    fn scopes_are_no_more_than_they_say() {
        let of =
            |scopes: &[Scope], sight: &Sight| Rights::of_scopes(&scopes.iter().copied().collect(), sight);
        let metrics = of(&[Scope::Metrics], &Sight::All);
        assert!(
            metrics.suffice(Needs::Metrics) && !metrics.suffice(Needs::See) && !metrics.suffice(Needs::Own)
        );
        let some = Sight::of(&["example.net".to_owned()]).unwrap();
        assert!(!of(&[Scope::Administer], &some).suffice(Needs::Administer), "not of everything");
        assert!(
            of(&[Scope::Write], &some).suffice(Needs::Act)
                && !of(&[Scope::Read], &Sight::All).suffice(Needs::Act)
        );
    }
}
