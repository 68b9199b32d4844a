//! The file's own shape: every key there is, all optional, nothing checked but types. What has to be checked keeps its
//! place in the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::choices::{
    Action, Arm, Banner, Challenge, ClientAddress, ExceptionTls, HostedMode, ListAbout, MinimumTls, Mode,
    OnFailure, OnInnerVerification, PlainText, SendersAction, Source, TlsPolicy,
};
use super::resolved::StoreEngine;

/// A string that will be checked.
pub(super) type Text = Option<Spanned<String>>;
/// A list of strings that will be checked.
pub(super) type Texts = Option<Vec<Spanned<String>>>;
/// A whole number that will be checked.
pub(super) type Number = Option<Spanned<i64>>;
/// A value of several possible shapes.
pub(super) type Any = Option<Spanned<toml::Value>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) hostname: Text,
    pub(super) postmaster: Text,
    pub(super) state_dir: Text,
    #[serde(default)]
    pub(super) network: RawNetwork,
    pub(super) listener: Option<Vec<Spanned<RawListener>>>,
    pub(super) backend: Option<Vec<Spanned<RawBackend>>>,
    pub(super) outbound: Option<RawOutbound>,
    #[serde(default)]
    pub(super) tls: RawTls,
    pub(super) acme: Option<RawAcme>,
    pub(super) dns_update: Option<RawDnsUpdate>,
    pub(super) resolver: Option<RawResolver>,
    pub(super) judge: Option<RawJudge>,
    #[serde(default)]
    pub(super) reports: RawReports,
    pub(super) queue: Option<RawQueue>,
    pub(super) trace: Option<RawTrace>,
    #[serde(default)]
    pub(super) limits: RawLimits,
    pub(super) http: Option<RawHttp>,
    #[serde(default)]
    pub(super) admin: RawAdmin,
    pub(super) log: Option<RawLog>,
    pub(super) store: Option<RawStore>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    pub(super) mode: Option<Mode>,
    pub(super) outside: Text,
    pub(super) inside: Text,
    pub(super) manage_firewall: Option<bool>,
    pub(super) forward: Texts,
    pub(super) open: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListener {
    pub(super) address: Text,
    pub(super) protocol: Option<RawProtocol>,
    pub(super) proxy_protocol_from: Texts,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProtocol {
    Smtp,
    Submission,
    Submissions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackend {
    pub(super) name: Text,
    pub(super) domains: Texts,
    pub(super) servers: Texts,
    pub(super) submission: Text,
    pub(super) tls: Option<Spanned<TlsPolicy>>,
    pub(super) tls_name: Text,
    pub(super) ca_file: Text,
    pub(super) pins: Texts,
    pub(super) client_address: Option<ClientAddress>,
    pub(super) banner: Option<RawBanner>,
    pub(super) arm: Option<Arm>,
    pub(super) mta_sts: Option<HostedMode>,
    pub(super) recipients: Any,
    pub(super) lifetime: Text,
}

/// A banner; the empty word stands for the mode's default.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawBanner {
    #[serde(rename = "")]
    Default,
    Postern,
    Server,
}

impl RawBanner {
    pub(super) fn chosen(self) -> Option<Banner> {
        match self {
            Self::Default => None,
            Self::Postern => Some(Banner::Postern),
            Self::Server => Some(Banner::Server),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutbound {
    pub(super) networks: Texts,
    pub(super) source: Option<RawSource>,
    pub(super) addresses: Texts,
    pub(super) relay: Text,
    pub(super) user: Option<String>,
    pub(super) password: Any,
    pub(super) relays: Texts,
    pub(super) tls: Option<TlsPolicy>,
    pub(super) ca_file: Text,
    pub(super) dane: Option<bool>,
    pub(super) mta_sts: Option<bool>,
    pub(super) exceptions: Option<Vec<RawException>>,
    pub(super) bypass: Texts,
    pub(super) hide: Option<bool>,
    pub(super) fix_bare_lf: Texts,
    pub(super) on_inner_verification: Option<OnInnerVerification>,
    #[serde(default)]
    pub(super) dkim: RawDkim,
    #[serde(default)]
    pub(super) senders: RawSenders,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSenders {
    pub(super) watch: Option<bool>,
    pub(super) action: Option<RawSendersAction>,
    pub(super) per_hour: Number,
    pub(super) per_day: Number,
    pub(super) exempt: Texts,
}

/// An action; the empty word stands for what `[judge] action` comes to.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSendersAction {
    #[serde(rename = "")]
    Default,
    Observe,
    Enforce,
}

impl RawSendersAction {
    pub(super) fn chosen(self) -> Option<SendersAction> {
        match self {
            Self::Default => None,
            Self::Observe => Some(SendersAction::Observe),
            Self::Enforce => Some(SendersAction::Enforce),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawException {
    pub(super) domain: Spanned<String>,
    pub(super) tls: Option<ExceptionTls>,
}

/// A source; the empty word stands for the mode's default.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSource {
    #[serde(rename = "")]
    Default,
    Appliance,
    Server,
}

impl RawSource {
    pub(super) fn chosen(self) -> Option<Source> {
        match self {
            Self::Default => None,
            Self::Appliance => Some(Source::Appliance),
            Self::Server => Some(Source::Server),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDkim {
    pub(super) enabled: Option<bool>,
    pub(super) selector_prefix: Text,
    pub(super) domains: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) minimum: Option<MinimumTls>,
    pub(super) post_quantum: Option<bool>,
    pub(super) certificates: Option<Vec<Spanned<RawCertificate>>>,
    pub(super) inbound_plain: Option<PlainText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCertificate {
    pub(super) chain: Text,
    pub(super) key: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAcme {
    pub(super) enabled: Option<bool>,
    pub(super) directory: Text,
    pub(super) contact: Texts,
    pub(super) challenge: Option<RawChallenge>,
    pub(super) names: Texts,
    pub(super) profile: Option<String>,
    pub(super) rsa: Option<bool>,
    pub(super) eab: Option<RawEab>,
    pub(super) ca_file: Text,
}

/// A challenge; the empty word stands for the mode's default.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum RawChallenge {
    #[serde(rename = "")]
    Default,
    #[serde(rename = "http-01")]
    Http01,
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    #[serde(rename = "dns-01")]
    Dns01,
}

impl RawChallenge {
    pub(super) fn chosen(self) -> Option<Challenge> {
        match self {
            Self::Default => None,
            Self::Http01 => Some(Challenge::Http01),
            Self::TlsAlpn01 => Some(Challenge::TlsAlpn01),
            Self::Dns01 => Some(Challenge::Dns01),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEab {
    pub(super) kid: Text,
    pub(super) hmac: Any,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDnsUpdate {
    pub(super) server: Text,
    pub(super) tsig: Option<RawTsig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTsig {
    pub(super) name: Text,
    pub(super) algorithm: Text,
    pub(super) secret: Any,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawResolver {
    pub(super) servers: Texts,
    pub(super) dnssec_trust_anchor: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJudge {
    pub(super) enabled: Option<bool>,
    pub(super) tag: Option<Spanned<f64>>,
    pub(super) quarantine: Option<Spanned<f64>>,
    pub(super) reject: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) on_failure: RawOnFailure,
    pub(super) budget: Text,
    pub(super) action: Option<Action>,
    pub(super) clamd: Text,
    pub(super) dnsbl: Option<Vec<RawDnsList>>,
    #[serde(default)]
    pub(super) attachments: RawAttachments,
    pub(super) greylist: Text,
    pub(super) traps: Texts,
    pub(super) allow: Texts,
    pub(super) block: Texts,
    pub(super) report_spam: Text,
    pub(super) report_ham: Text,
    pub(super) quarantine_for: Text,
    pub(super) trusted_sealers: Texts,
    pub(super) seal: Option<bool>,
    pub(super) rules: Option<Vec<Spanned<RawRule>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAttachments {
    pub(super) refuse: Texts,
    pub(super) quarantine: Texts,
    pub(super) tag: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOnFailure {
    pub(super) auth: Option<OnFailure>,
    pub(super) virus: Option<OnFailure>,
    pub(super) content: Option<OnFailure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) domains: Texts,
    pub(super) recipients: Texts,
    pub(super) tag: Option<Spanned<f64>>,
    pub(super) quarantine: Option<Spanned<f64>>,
    pub(super) reject: Option<Spanned<f64>>,
    pub(super) action: Option<Action>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDnsList {
    pub(super) zone: Spanned<String>,
    pub(super) weight: Spanned<f64>,
    pub(super) about: Option<ListAbout>,
    pub(super) codes: Option<BTreeMap<Spanned<String>, Spanned<f64>>>,
    pub(super) refuse: Option<Spanned<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReports {
    pub(super) address: Text,
    pub(super) tls: Option<bool>,
    pub(super) dmarc: Option<bool>,
    pub(super) weekly: Option<bool>,
    pub(super) trusted: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQueue {
    pub(super) lifetime: Text,
    pub(super) max_size: Text,
    pub(super) tell_after: Text,
    pub(super) keep_expired: Text,
    pub(super) throttles: Option<Vec<RawThrottle>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrace {
    pub(super) keep: Text,
    pub(super) max_size: Text,
    pub(super) subjects: Option<Spanned<bool>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawThrottle {
    pub(super) domain: Spanned<String>,
    pub(super) connections: Number,
    pub(super) per_minute: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) message_size: Text,
    pub(super) sessions: Number,
    pub(super) sessions_per_ip: Number,
    pub(super) pregreet: Text,
    pub(super) recipients: Number,
    pub(super) in_flight: Text,
    pub(super) errors: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    pub(super) plain: Text,
    pub(super) tls: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdmin {
    pub(super) listen: Text,
    pub(super) networks: Texts,
    pub(super) edit: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) syslog: Text,
    pub(super) syslog_ca_file: Text,
    pub(super) alerts: Texts,
    pub(super) alerts_key: Any,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    pub(super) engine: Option<RawEngine>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawEngine {
    Sled,
}

impl RawEngine {
    pub(super) fn chosen(self) -> StoreEngine {
        match self {
            Self::Sled => StoreEngine::Sled,
        }
    }
}
