//! One order, from the names to the chain (RFC 8555 §7.4). A name that the CA refuses or cannot validate is left out, and the rest
//! ordered again.
//!
//! What an order needs to be taken up again after a crash is written down before the CA is told that it may look.

use std::time::Duration;

use dns::update::Updater;
use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    Problem,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::account::OpenAccount;
use crate::answers::{Answers, Posted};
use crate::error::{bounded, kind, words};
use crate::folder::Folder;
use crate::keys::Key;
use crate::state::LeftOut;
use crate::{AcmeError, Challenge};

/// In each one at least one name is left out; what fails one by one is tried again another time.
const ROUNDS: usize = 4;
/// Further ones where the CA did not know its own nonce again and again (RFC 8555 §6.5): that says nothing of the order, and is no reason
/// to wait as after a refusal.
const NONCES: usize = 4;
/// How long a CA may take to look from all its places at all names, or to issue.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between looks at how far the CA is, at first; it grows to the second.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// Profiles of a CA that are named to people; real CAs have some three.
const MAX_PROFILES: usize = 16;

/// What an order is made with.
pub(crate) struct Ordering<'a> {
    pub(crate) open: &'a OpenAccount,
    pub(crate) directory: &'a str,
    pub(crate) profile: &'a str,
    pub(crate) challenge: Challenge,
    pub(crate) answers: &'a Answers,
    pub(crate) updater: Option<&'a Updater>,
    pub(crate) journal: Journal<'a>,
}

/// What came of it.
pub(crate) struct Ordered {
    /// In PEM, the own certificate first.
    pub(crate) chain: String,
    pub(crate) key: Key,
    /// The names that it is for.
    pub(crate) names: Vec<String>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// How an order ended without a certificate; what was found out of the names is not lost.
pub(crate) struct Failed {
    pub(crate) error: Option<AcmeError>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// What an interrupted order is taken up from.
#[derive(Serialize, Deserialize)]
struct Begun {
    url: String,
    names: Vec<String>,
    key: Zeroizing<String>,
}

/// The file of an open order.
pub(crate) struct Journal<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) name: String,
}

impl Journal<'_> {
    fn begun(&self) -> Option<Begun> {
        let octets = self.folder.read(&self.name).ok().flatten()?;
        serde_json::from_slice(&octets).ok()
    }

    fn begin(&self, url: &str, names: &[String], key: &Key) -> Result<(), AcmeError> {
        let key = Zeroizing::new(key.pem().to_owned());
        let begun = Begun { url: url.to_owned(), names: names.to_vec(), key };
        let octets = Zeroizing::new(serde_json::to_vec(&begun).unwrap_or_default());
        self.folder.write(&self.name, &octets)
    }

    /// The order is over.
    pub(crate) fn end(&self) {
        if let Err(error) = self.folder.remove(&self.name) {
            tracing::warn!(%error, "the note of an order stays");
        }
    }
}

fn is_lost_nonce(error: &AcmeError) -> bool {
    matches!(error, AcmeError::Refused { kind, .. } if kind == "badNonce")
}

impl Ordering<'_> {
    /// Orders one certificate for `names`. `worth` says of the names that are left whether they are worth a certificate.
    pub(crate) async fn carry_out(
        &self,
        mut names: Vec<String>,
        key: Key,
        replaces: Option<CertificateIdentifier<'static>>,
        worth: impl Fn(&[String]) -> bool + Send,
    ) -> Result<Ordered, Failed> {
        let mut left_out = Vec::new();
        if let Some(ordered) = self.take_up(&names).await {
            return Ok(ordered);
        }
        for _ in 0..ROUNDS + NONCES {
            let mut order = match self.begin(&names, &key, replaces.clone()).await {
                Ok(Began::Order(order)) => order,
                Ok(Began::Rejected(rejected)) => {
                    leave_out(&mut names, &mut left_out, rejected);
                    if !worth(&names) {
                        return Err(nothing(left_out));
                    }
                    continue;
                }
                Err(error) if is_lost_nonce(&error) => continue,
                Err(error) => return Err(Failed { error: Some(error), left_out }),
            };
            match self.prove(&mut order, &names).await {
                Ok(failed) if failed.is_empty() => match self.finish(&mut order, &names, &key).await {
                    Ok(chain) => return Ok(Ordered { chain, key, names, left_out }),
                    Err(error) if is_lost_nonce(&error) => {}
                    Err(error) => return Err(Failed { error: Some(error), left_out }),
                },
                Ok(failed) => {
                    self.journal.end();
                    leave_out(&mut names, &mut left_out, failed);
                    if !worth(&names) {
                        return Err(nothing(left_out));
                    }
                }
                Err(error) if is_lost_nonce(&error) => {}
                Err(error) => return Err(Failed { error: Some(error), left_out }),
            }
        }
        Err(nothing(left_out))
    }

    /// Goes on with an order that was interrupted, if it is for these names and can still come to something; else it is forgotten,
    /// and the CA lets it expire.
    async fn take_up(&self, names: &[String]) -> Option<Ordered> {
        let begun = self.journal.begun()?;
        let key = Key::read(&begun.key).ok().filter(|_| begun.names == names);
        let taken = match key {
            Some(key) => self.go_on(&begun, key).await,
            None => None,
        };
        if taken.is_none() {
            self.journal.end();
        }
        taken
    }

    async fn go_on(&self, begun: &Begun, key: Key) -> Option<Ordered> {
        let mut order = self.open.account.order(begun.url.clone()).await.ok()?;
        let failed = match order.state().status {
            OrderStatus::Pending => self.prove(&mut order, &begun.names).await.ok()?,
            OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid => Vec::new(),
            OrderStatus::Invalid => return None,
        };
        if !failed.is_empty() {
            return None;
        }
        let chain = self.finish(&mut order, &begun.names, &key).await.ok()?;
        tracing::info!(names = ?begun.names, "an interrupted order was taken up again");
        Some(Ordered { chain, key, names: begun.names.clone(), left_out: Vec::new() })
    }

    async fn begin(
        &self,
        names: &[String],
        key: &Key,
        replaces: Option<CertificateIdentifier<'static>>,
    ) -> Result<Began, AcmeError> {
        self.has_profile()?;
        let identifiers: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
        let request = |replaces: Option<CertificateIdentifier<'static>>| {
            let mut request = NewOrder::new(&identifiers);
            if !self.profile.is_empty() {
                request = request.profile(self.profile);
            }
            match replaces {
                Some(replaces) => request.replaces(replaces),
                None => request,
            }
        };
        let replacing = replaces.is_some();
        let mut asked = self.open.account.new_order(&request(replaces)).await;
        // It was replaced before, or the CA has lost it: that is no reason to go without one (RFC 9773 §5).
        if replacing && matches!(&asked, Err(error) if !is_rate_limit(error)) {
            asked = self.open.account.new_order(&request(None)).await;
        }
        match asked {
            Ok(order) => {
                self.journal.begin(order.url(), names, key)?;
                Ok(Began::Order(Box::new(order)))
            }
            Err(instant_acme::Error::Api(problem)) => match rejected(&problem, names) {
                rejected if rejected.is_empty() => Err(self.failed(problem.into())),
                rejected => Ok(Began::Rejected(rejected)),
            },
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A profile that the directory does not have must not be asked for (draft-ietf-acme-profiles §4).
    fn has_profile(&self) -> Result<(), AcmeError> {
        let profiles = || self.open.account.profiles().map(|profile| profile.name);
        if self.profile.is_empty() || profiles().any(|name| name == self.profile) {
            return Ok(());
        }
        let mut has: Vec<_> = profiles().take(MAX_PROFILES).map(bounded).collect();
        has.sort();
        Err(AcmeError::UnknownProfile { wanted: self.profile.to_owned(), has })
    }

    /// Proves control of every name of the order; those of which the CA is not convinced, with its reason.
    async fn prove(&self, order: &mut Order, names: &[String]) -> Result<Vec<LeftOut>, AcmeError> {
        if order.state().authorizations.len() > names.len() {
            return Err(AcmeError::Unusable("the CA asks for more names than were ordered".to_owned()));
        }
        let mut posted = Posted::new(self.answers, self.challenge, self.updater);
        let proved = self.prove_with(order, names, &mut posted).await;
        posted.withdraw().await;
        proved
    }

    async fn prove_with(
        &self,
        order: &mut Order,
        names: &[String],
        posted: &mut Posted<'_>,
    ) -> Result<Vec<LeftOut>, AcmeError> {
        let mut failed = self.post(order, names, posted).await?;
        self.let_look(order, &mut failed).await?;
        self.watch(order, &mut failed).await?;
        Ok(failed)
    }

    fn kind(&self) -> ChallengeType {
        match self.challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Challenge::Dns01 => ChallengeType::Dns01,
        }
    }

    async fn post(
        &self,
        order: &mut Order,
        names: &[String],
        posted: &mut Posted<'_>,
    ) -> Result<Vec<LeftOut>, AcmeError> {
        let mut failed = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|error| self.failed(error))?;
            let name = authorization.identifier().to_string();
            // What is put up goes into zones: not for names of the CA's choice.
            if !names.contains(&name) {
                return Err(AcmeError::Unusable("the CA asks for a name that was not ordered".to_owned()));
            }
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let reason = match authorization.challenge(self.kind()) {
                None => Some(format!("the CA does not offer {} for it", self.challenge.name())),
                Some(challenge) => {
                    let key_authorization = challenge.key_authorization();
                    posted.post(&name, &challenge.token, &key_authorization).await.err()
                }
            };
            failed.extend(reason.map(|reason| LeftOut { name, reason }));
        }
        Ok(failed)
    }

    async fn let_look(&self, order: &mut Order, failed: &mut Vec<LeftOut>) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|error| self.failed(error))?;
            let name = authorization.identifier().to_string();
            if authorization.status != AuthorizationStatus::Pending || is_in(failed, &name) {
                continue;
            }
            let Some(mut challenge) = authorization.challenge(self.kind()) else { continue };
            match challenge.set_ready().await {
                Ok(()) => {}
                Err(error) if is_rate_limit(&error) => return Err(self.failed(error)),
                Err(instant_acme::Error::Api(problem)) => {
                    failed.push(LeftOut { name, reason: words(&problem) });
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// Until the CA has looked at everything.
    async fn watch(&self, order: &mut Order, failed: &mut Vec<LeftOut>) -> Result<(), AcmeError> {
        let (deadline, mut pause) = (Instant::now() + PATIENCE, FIRST_LOOK);
        loop {
            let mut open = false;
            let mut authorizations = order.authorizations();
            while let Some(next) = authorizations.next().await {
                let mut authorization = next.map_err(|error| self.failed(error))?;
                let name = authorization.identifier().to_string();
                if is_in(failed, &name) {
                    continue;
                }
                if authorization.status == AuthorizationStatus::Pending {
                    authorization.refresh().await.map_err(|error| self.failed(error))?;
                }
                match authorization.status {
                    AuthorizationStatus::Valid => {}
                    AuthorizationStatus::Pending => open = true,
                    other => {
                        let found =
                            authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
                        let reason = found.map_or_else(|| format!("its authorization is {other:?}"), words);
                        failed.push(LeftOut { name, reason });
                    }
                }
            }
            if !open {
                return Ok(());
            }
            self.pause(&mut pause, deadline).await?;
        }
    }

    /// From a proved order to the chain.
    async fn finish(&self, order: &mut Order, names: &[String], key: &Key) -> Result<String, AcmeError> {
        let (deadline, mut pause) = (Instant::now() + PATIENCE, FIRST_LOOK);
        let mut asked = false;
        loop {
            let state = order.state();
            if let Some(problem) = &state.error {
                let problem = problem.clone();
                return Err(self.failed(problem.into()));
            }
            match state.status {
                OrderStatus::Valid => {
                    let chain = order.certificate().await.map_err(|error| self.failed(error))?;
                    return chain.ok_or(AcmeError::TimedOut);
                }
                OrderStatus::Ready if !asked => {
                    asked = true;
                    order.finalize_csr(&request(names, key)?).await.map_err(|error| self.failed(error))?;
                    continue;
                }
                OrderStatus::Invalid => {
                    return Err(AcmeError::Unusable("the order became invalid".to_owned()));
                }
                OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Processing => {}
            }
            self.pause(&mut pause, deadline).await?;
            order.refresh().await.map_err(|error| self.failed(error))?;
        }
    }

    async fn pause(&self, pause: &mut Duration, deadline: Instant) -> Result<(), AcmeError> {
        let wanted = self.open.patience.wanted().unwrap_or_default().max(*pause);
        if Instant::now() + wanted > deadline {
            return Err(AcmeError::TimedOut);
        }
        sleep(wanted).await;
        *pause = (*pause * 2).min(LONGEST_LOOK);
        Ok(())
    }

    fn failed(&self, error: instant_acme::Error) -> AcmeError {
        AcmeError::of_client(error, self.directory, self.open.patience.wanted())
    }
}

enum Began {
    Order(Box<Order>),
    /// The CA wants none for these.
    Rejected(Vec<LeftOut>),
}

fn is_rate_limit(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Api(problem) if kind(problem) == "rateLimited")
}

/// The names that the CA's subproblems (RFC 8555 §6.7.1) are about. Where it limits rates, no name is to blame.
fn rejected(problem: &Problem, names: &[String]) -> Vec<LeftOut> {
    if kind(problem) == "rateLimited" {
        return Vec::new();
    }
    let about = |sub: &instant_acme::Subproblem| {
        let Some(Identifier::Dns(name)) = &sub.identifier else { return None };
        let reason = sub.detail.as_deref().or(sub.r#type.as_deref()).unwrap_or("rejected");
        names.contains(name).then(|| LeftOut { name: name.clone(), reason: bounded(reason) })
    };
    let rejected: Vec<_> = problem.subproblems.iter().filter_map(about).collect();
    // A CA that has no subproblems may still say in its words which name it means.
    if !rejected.is_empty() || kind(problem) != "rejectedIdentifier" {
        return rejected;
    }
    let said = words(problem);
    let is_said =
        |name: &&String| said.split(|c: char| !is_of_name(c)).any(|word| word.trim_matches('.') == **name);
    names.iter().filter(is_said).map(|name| LeftOut { name: name.clone(), reason: said.clone() }).collect()
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

fn is_in(left_out: &[LeftOut], name: &str) -> bool {
    left_out.iter().any(|one| one.name == name)
}

fn leave_out(names: &mut Vec<String>, left_out: &mut Vec<LeftOut>, more: Vec<LeftOut>) {
    names.retain(|name| !is_in(&more, name));
    left_out.extend(more);
}

/// Nothing is left that is worth a certificate.
fn nothing(left_out: Vec<LeftOut>) -> Failed {
    let error = left_out
        .first()
        .map(|first| AcmeError::NoName { name: first.name.clone(), reason: first.reason.clone() });
    Failed { error, left_out }
}

/// The request for a certificate: the names and nothing else.
fn request(names: &[String], key: &Key) -> Result<Vec<u8>, AcmeError> {
    let mut params = rcgen::CertificateParams::new(names.to_vec())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params.serialize_request(key.pair())?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_ca_blames_are_left_out_and_a_rate_limit_blames_none() {
        let sub = |name: &str| {
            format!(r#"{{"type":"x","detail":"forbidden","identifier":{{"type":"dns","value":"{name}"}}}}"#)
        };
        let text = |kind: &str| {
            format!(
                r#"{{"type":"urn:ietf:params:acme:error:{kind}","subproblems":[{},{}]}}"#,
                sub("b.example.net"),
                sub("foreign.example.org")
            )
        };
        let names = ["a.example.net", "b.example.net"].map(str::to_owned);
        let of = |kind: &str| rejected(&serde_json::from_str(&text(kind)).unwrap(), &names);
        let left_out = of("rejectedIdentifier");
        assert_eq!(left_out.len(), 1);
        assert_eq!((left_out[0].name.as_str(), left_out[0].reason.as_str()), ("b.example.net", "forbidden"));
        assert!(of("rateLimited").is_empty());
    }

    #[test]
    fn a_ca_without_subproblems_is_taken_at_its_words() {
        let names = ["a.example.net", "example.net", "b.example.net"].map(str::to_owned);
        let text = r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier",
            "detail":"Order included an identifier that is forbidden: \"b.example.net\"."}"#;
        let left_out = rejected(&serde_json::from_str(text).unwrap(), &names);
        assert_eq!(left_out.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["b.example.net"]);
        let other = r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"example.net"}"#;
        assert!(rejected(&serde_json::from_str(other).unwrap(), &names).is_empty());
    }
}
