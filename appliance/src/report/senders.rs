//! Who sends from here, and what is known of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A sender: a user who authenticates, or an address that mail from inside has in its envelope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SenderState {
    /// The user's name or the address, in lower case.
    pub sender: String,
    /// Whether it is a user's.
    pub authenticated: bool,
    /// Whether its mail is held.
    pub held: bool,
    /// Since when it looks taken over, in seconds since 1970; `None`: it does not.
    pub since: Option<u64>,
    /// What was seen then, a sentence each.
    pub seen: Vec<String>,
    /// When it was last heard of, in seconds since 1970.
    pub last: u64,
    /// Messages of the last 24 hours.
    pub messages_in_a_day: u32,
    /// Recipients of the last hour.
    pub recipients_in_an_hour: u32,
    /// Recipients of the last 24 hours.
    pub recipients_in_a_day: u32,
    /// Those of them to whom nobody here had written before.
    pub strangers_in_a_day: u32,
    /// Recipients whose servers refused them for good.
    pub refused_in_a_day: u32,
    /// The average spam probability of its last messages, 0 to 1; `None` of fewer than ten.
    pub spam_probability: Option<f64>,
}

impl SenderState {
    /// Whether it looks taken over.
    pub fn is_suspect(&self) -> bool {
        self.since.is_some()
    }
}
