//! The DNS records of the present config.

use std::sync::{Arc, Mutex, PoisonError};

use super::outbound::Names;
use crate::config::Config;
use crate::dkim::Keys;
use crate::report::{NoZones, ZoneQuestion, ZoneReport};
use crate::zone::{self, Association, Facts, compare};

/// What outlives a reload.
pub(super) struct Zones {
    keys: Arc<Keys>,
    now: Mutex<Option<Now>>,
}

/// What there is to publish of the present config, and who is asked what is.
type Now = (Arc<Facts>, Names, Arc<[Association]>);

impl Zones {
    pub(super) fn new(keys: Arc<Keys>) -> Arc<Self> {
        Arc::new(Self { keys, now: Mutex::default() })
    }

    /// From now on these are the domains, and these the certificates.
    pub(super) fn config_is(&self, config: &Config, names: Names, associations: Vec<Association>) {
        let facts = Arc::new(Facts::new(config));
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = Some((facts, names, associations.into()));
    }

    /// The MTA-STS policy of a domain here, if one is hosted.
    pub(super) fn policy(&self, domain: &smtp::Domain) -> Option<String> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.as_ref()?.0.policy(domain.as_str())
    }

    /// From now on these are the records of the keys.
    pub(super) fn associations_are(&self, associations: Vec<Association>) {
        if let Some(now) = &mut *self.now.lock().unwrap_or_else(PoisonError::into_inner) {
            now.2 = associations.into();
        }
    }

    pub(super) async fn report(self: Arc<Self>, question: ZoneQuestion) -> Result<ZoneReport, NoZones> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (facts, names, associations) = now.ok_or_else(|| NoZones::Failed("there is no config".into()))?;
        let ZoneQuestion { domains, verify } = question;
        if let Some(unknown) = domains.iter().find(|domain| !facts.knows(domain)) {
            return Err(NoZones::UnknownDomain(zone::unknown(&facts, unknown)));
        }
        let (keys, shared) = (Arc::clone(&self.keys), Arc::clone(&facts));
        let made = tokio::task::spawn_blocking(move || {
            shared.records(&domains, &keys, &associations).map_err(|error| error.to_string())
        });
        let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
        let mut report = made.map_err(NoZones::Failed)?;
        if verify {
            let resolver = names.resolver().await.map_err(|error| NoZones::Failed(error.to_string()))?;
            let compared = compare::compare(&facts, resolver, &mut report).await;
            compared
                .map_err(|error| NoZones::Failed(format!("the name servers cannot be asked: {error}")))?;
        }
        Ok(report)
    }
}
