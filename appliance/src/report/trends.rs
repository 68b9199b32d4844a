//! What went on in the course of an hour, a day and thirty days, in numbers alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Count;

/// The last hour by the minute, the last day by the hour, or the last thirty days by the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrendSpan {
    /// By the minute.
    Hour,
    /// By the hour.
    #[default]
    Day,
    /// By the day.
    Month,
}

impl TrendSpan {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// The word in the API and in addresses of pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The seconds of a step, and how many steps there are.
    pub fn steps(self) -> (u64, u64) {
        match self {
            Self::Hour => (60, 60),
            Self::Day => (3600, 24),
            Self::Month => (86_400, 30),
        }
    }
}

/// One of the spans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trend {
    /// Which.
    pub span: TrendSpan,
    /// How much one of `steps` covers, in seconds.
    pub step_seconds: u64,
    /// Oldest first; the last one is still growing. Where nothing was counted all is 0.
    pub steps: Vec<TrendStep>,
}

/// What was counted in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TrendStep {
    /// When it began, in seconds since 1970.
    pub at: u64,
    /// Sessions with clients that ended.
    pub sessions: u64,
    /// Octets that clients sent.
    pub octets_in: u64,
    /// Octets that clients were sent.
    pub octets_out: u64,
    /// The most messages that waited for their server at once.
    pub waiting: u64,
    /// Messages from the world by verdict: `pass`, `tag`, `quarantine`, `reject`, `defer`, `discard`; `unjudged`, or `refused` by a rule before
    /// any judge saw it.
    pub inbound: Vec<Count>,
    /// Messages from here, the same.
    pub outbound: Vec<Count>,
    /// Sessions with clients by version of TLS: `TLSv1.3`, `TLSv1.2`, `plain`, or `failed`.
    pub client_tls: Vec<Count>,
    /// Those of them with TLS by the group of the key exchange (`X25519MLKEM768` and so on).
    pub client_groups: Vec<Count>,
    /// Uses of a server by version of TLS, as `client_tls`.
    pub server_tls: Vec<Count>,
    /// Those of them with TLS by the group of the key exchange.
    pub server_groups: Vec<Count>,
    /// Judged messages by the language of their text, or by its script.
    pub languages: Vec<Count>,
}
