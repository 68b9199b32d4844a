//! Whether a reverse-path is its sender's own: a question that the driver asks, and somebody answers who may look it up.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use smtp::ReversePath;
use spool::{Content, SenderProof};

/// Who is said to have sent a message.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// Where reports would go.
    pub reverse_path: &'a ReversePath,
    /// The message.
    pub content: &'a Content,
}

/// What [`Senders::prove`] returns.
pub type Proving<'a> = Pin<Box<dyn Future<Output = SenderProof> + Send + 'a>>;

/// Finds out whether senders may be told what becomes of their messages (DECISIONS 2, 30). Takes some seconds at most, since
/// a client waits.
pub trait Senders: Send + Sync + 'static {
    /// [`SenderProof::Unknown`] also where it cannot be found out.
    fn prove<'a>(&'a self, claim: Claim<'a>) -> Proving<'a>;
}
