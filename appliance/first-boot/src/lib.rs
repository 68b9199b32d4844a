//! First boot: from a seed (a volume, or a cloud's metadata service) to settings that outlive a restart, and from those to what
//! systemd-networkd, timesyncd and unbound read. Nothing from a seed is ever executed.
//!
//! - [`local`] and [`network()`] are the two steps of a boot. Both always leave a machine that can be reached: what cannot be read
//!   is noted, with the file, the line and what was expected, and what was there before stays; with nothing before, DHCP.
//! - [`seed`] reads volumes, [`metadata`] asks the six clouds, [`user_data`] and [`mod@network`] read what
//!   administrators write, [`document`] is the YAML and JSON below them. All of these take bytes from outside: every read, tree and
//!   wait has a bound.
//! - [`stored`] is what is kept, each file replaced as a whole.
//!
//! The appliance's own config is checked by a function that is handed in: this crate knows nothing of mail.

mod boot;
pub mod document;
mod error;
mod links;
pub mod metadata;
pub mod names;
pub mod network;
mod note;
mod runtime;
pub mod seed;
pub mod stored;
pub mod user_data;

pub use boot::{Settings, local, network};
pub use error::FirstBootError;
pub use note::{MAX_NOTES, Note, Weight};
pub use runtime::{Report, read_report};
pub use user_data::{Accepted, Complaint, Validate};
