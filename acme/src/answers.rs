//! What the CA asks for while an order is open, and finds here or in the DNS.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dns::update::{Change, Content, UpdateError, Updater};
use instant_acme::KeyAuthorization;
use smtp::Domain;
use tls::Validations;
use tokio::time::sleep;

use crate::{AcmeError, Challenge};

/// How long the TXT records hold: nobody but the CA asks for them.
const TTL: Duration = Duration::from_secs(60);
/// A primary that has taken a record shows it at once, or when it has signed its zone.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// The public servers answer from this. Cheap to clone; a clone has the same.
#[derive(Clone, Default)]
pub struct Answers {
    tokens: Arc<Mutex<HashMap<String, String>>>,
    validations: Validations,
}

impl Answers {
    /// What to answer under `/.well-known/acme-challenge/TOKEN`; `None`: nothing was asked for there.
    pub fn token(&self, token: &str) -> Option<String> {
        self.tokens().get(token).cloned()
    }

    /// What to show to a CA that asks with `acme-tls/1`.
    pub fn validations(&self) -> &Validations {
        &self.validations
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("tokens", &self.tokens().len()).finish_non_exhaustive()
    }
}

/// Answers of one order; what is local goes with it.
pub(crate) struct Posted<'a> {
    answers: &'a Answers,
    challenge: Challenge,
    updater: Option<&'a Updater>,
    tokens: Vec<String>,
    names: Vec<String>,
    texts: Vec<(Domain, Content)>,
}

impl<'a> Posted<'a> {
    pub(crate) fn new(answers: &'a Answers, challenge: Challenge, updater: Option<&'a Updater>) -> Self {
        Self { answers, challenge, updater, tokens: Vec::new(), names: Vec::new(), texts: Vec::new() }
    }

    /// Puts up what proves control of `name`. Comes back when the CA may look.
    ///
    /// # Errors
    ///
    /// In words: what cannot be done for this name.
    pub(crate) async fn post(
        &mut self,
        name: &str,
        token: &str,
        authorization: &KeyAuthorization,
    ) -> Result<(), String> {
        match self.challenge {
            Challenge::Http01 => {
                self.answers.tokens().insert(token.to_owned(), authorization.as_str().to_owned());
                self.tokens.push(token.to_owned());
                Ok(())
            }
            Challenge::TlsAlpn01 => {
                let digest = authorization.digest();
                self.names.push(name.to_owned());
                self.answers.validations.show(name, digest.as_ref()).map_err(|error| error.to_string())
            }
            Challenge::Dns01 => self.publish(name, authorization.dns_value()).await,
        }
    }

    async fn publish(&mut self, name: &str, value: String) -> Result<(), String> {
        let updater = self.updater.ok_or("dns-01 needs [dns_update]")?;
        let owner: Domain =
            format!("_acme-challenge.{name}").parse().map_err(|_| "its name is too long for dns-01")?;
        let content = Content::Text(value.as_str().into());
        self.texts.push((owner.clone(), content.clone()));
        let in_words = |error: UpdateError| error.to_string();
        updater.change(&owner, &[Change::Add(content, TTL)]).await.map_err(in_words)?;
        for _ in 0..LOOKS {
            if updater.texts(&owner).await.map_err(in_words)?.iter().any(|text| *text.0 == *value) {
                return Ok(());
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Err("the name server took the TXT record and does not show it".to_owned())
    }

    /// Takes everything away that is not here.
    pub(crate) async fn withdraw(&mut self) {
        let Some(updater) = self.updater else { return };
        for (owner, content) in self.texts.drain(..) {
            if let Err(error) = updater.change(&owner, &[Change::Remove(content)]).await {
                tracing::warn!(%owner, %error, "the TXT record of the challenge stays");
            }
        }
    }
}

impl Drop for Posted<'_> {
    fn drop(&mut self) {
        let mut tokens = self.answers.tokens();
        for token in &self.tokens {
            tokens.remove(token);
        }
        drop(tokens);
        self.names.iter().for_each(|name| self.answers.validations.withdraw(name));
    }
}

impl From<UpdateError> for AcmeError {
    fn from(error: UpdateError) -> Self {
        Self::NoAnswer(error.to_string())
    }
}
