//! Hostile bytes to bounded facts. What reads the content of mail lives here and runs in workers that can do nothing else:
//! one a core, without network, file system or privileges (the program that starts them sees to that).
//!
//! - [`frame`] is what is said between the gate and a worker: one request of fixed size with the body as a passed
//!   descriptor, one answer with the facts and, behind it, the [`encoded`] content; [`packet`] carries it, descriptors included.
//! - [`worker`] is the worker's side: a loop that reads one body after the other. [`facts`] is the outer form that it finds,
//!   [`content`] is what the message says, [`report`] what it reports about a domain, and [`mod@read`] is how it finds that out: the only home of the parsers of MIME, HTML and
//!   archives.
//! - [`mailbox`] takes files apart that hold many messages.
//! - [`workers`] is the gate's side: it hands out bodies, waits no longer than the deadline, ends and replaces whoever is
//!   dead, late or out of step, and holds a body that did this twice (law 8: mail is never lost over it).

pub mod body;
pub mod content;
pub mod encoded;
pub mod error;
pub mod facts;
pub mod frame;
pub mod mailbox;
pub mod packet;
pub mod read;
pub mod report;
pub mod worker;
pub mod workers;

mod cut;
mod failures;
mod line;
mod seat;

pub use body::Body;
pub use content::Content;
pub use error::SiftError;
pub use facts::Facts;
pub use line::Waiting;
pub use read::{Bounds, read};
pub use workers::{SeatState, Settings, Sifted, Worker, Workers};
