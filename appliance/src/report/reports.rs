//! Reports of users that wait for a person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A report that is held, since it contradicts many others or comes from who is seldom right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeldReport {
    /// What it is called here.
    pub id: String,
    /// Who reported, in lower case.
    pub reporter: String,
    /// `spam` or `ham`.
    pub says: String,
    /// The transaction of the message that it is about.
    pub transaction: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// What the reporter's word weighs, 0 to 1.
    pub weight: f64,
    /// How many others say something else of messages of its kind.
    pub against: usize,
}
