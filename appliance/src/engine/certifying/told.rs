//! From the config to what the certifier is told; and where that is not enough, why.

use std::sync::Arc;

use acme::{ExternalAccount, Settings};
use dns::update::{Algorithm, TsigKey, Updater};
use tls::Roots;
use zeroize::Zeroizing;

use super::Certifying;
use crate::config::{Challenge, Config};
use crate::web;

impl Certifying {
    /// Tells the certifier what the config says now.
    pub(super) async fn tell(&self) {
        let config = Arc::clone(&self.now().config);
        let updater = self.updater(&config).await;
        let waits = updater.is_err();
        let settings = match &updater {
            _ if !web::sockets::orders(&config) => Ok(None),
            Err(why) if config.acme.challenge == Challenge::Dns01 => Err(why.clone()),
            Err(why) => {
                tracing::warn!(why, "no DNS records are changed");
                self.settings(&config, false).map(Some)
            }
            Ok(updater) => self.settings(&config, updater.is_some()).map(Some),
        };
        {
            let mut now = self.now();
            // Who brought certificates may do without; `check` tells what would be ordered.
            let matters = !now.own.has_files();
            now.hindrance = settings.as_ref().err().cloned().filter(|_| matters);
            now.incomplete = waits;
        }
        if let Err(hindrance) = &settings {
            tracing::warn!(hindrance, "no certificates can be ordered");
        }
        self.certifier.settings_are(settings.unwrap_or_default(), updater.unwrap_or_default());
    }

    /// `Ok(None)`: the config names no server for changes.
    async fn updater(&self, config: &Config) -> Result<Option<Updater>, String> {
        let Some(update) = &config.dns_update else { return Ok(None) };
        let addresses = update.server.look_up().await;
        let address = addresses.ok().and_then(|found| found.into_iter().next()).ok_or_else(|| {
            format!("The name server {} in [dns_update] cannot be found: check its name.", update.server)
        })?;
        let key = update.tsig.as_ref().map(|tsig| TsigKey {
            name: tsig.name.clone(),
            algorithm: Algorithm::named(&tsig.algorithm).unwrap_or(Algorithm::Sha256),
            secret: tsig.secret.decoded().unwrap_or_default(),
        });
        let updater = Updater::new(address, key.as_ref(), Arc::clone(&self.clock));
        updater.map(Some).map_err(|error| format!("[dns_update] cannot be used: {error}."))
    }

    fn settings(&self, config: &Config, can_update: bool) -> Result<Settings, String> {
        let settings = ca_settings(config)?;
        match settings.challenge {
            acme::Challenge::Dns01 if !can_update => {
                return Err("acme.challenge is dns-01, and there is no [dns_update]: name the primary name server there, or \
                            choose http-01, or say acme.enabled = false."
                    .to_owned());
            }
            acme::Challenge::Dns01 => {}
            acme::Challenge::Http01 => self.needs_port(false, "http-01", "plain")?,
            acme::Challenge::TlsAlpn01 => self.needs_port(true, "tls-alpn-01", "tls")?,
        }
        Ok(settings)
    }

    /// Without an answer the CA would only count failures.
    fn needs_port(&self, tls: bool, challenge: &str, key: &str) -> Result<(), String> {
        let now = self.now();
        let port = now.ports.iter().find(|port| port.tls == tls);
        match port.map(|port| port.problem.as_deref()) {
            Some(None) => Ok(()),
            Some(Some(problem)) => {
                Err(format!("{problem} Or set acme.challenge = \"dns-01\", or acme.enabled = false."))
            }
            None => Err(format!(
                "acme.challenge is {challenge}, and http.{key} is empty: name an address there, or choose dns-01, or say \
                 acme.enabled = false."
            )),
        }
    }
}

/// Whom to order from, as the config has it.
///
/// # Errors
///
/// In a sentence: what cannot be used.
pub(crate) fn ca_settings(config: &Config) -> Result<Settings, String> {
    let acme = &config.acme;
    let challenge = match acme.challenge {
        Challenge::Http01 => acme::Challenge::Http01,
        Challenge::TlsAlpn01 => acme::Challenge::TlsAlpn01,
        Challenge::Dns01 => acme::Challenge::Dns01,
    };
    let roots = match &acme.ca_file {
        None => Roots::public(),
        Some(file) => Roots::public()
            .with_file(file)
            .map_err(|error| format!("acme.ca_file cannot be used: {error}."))?,
    };
    let external_account = acme.eab.as_ref().map(|eab| ExternalAccount {
        kid: eab.kid.clone(),
        hmac: Zeroizing::new(eab.hmac.decoded().unwrap_or_default()),
    });
    Ok(Settings {
        directory: acme.directory.clone(),
        contact: acme.contact.clone(),
        challenge,
        profile: acme.profile.clone(),
        rsa: acme.rsa,
        external_account,
        roots,
    })
}
