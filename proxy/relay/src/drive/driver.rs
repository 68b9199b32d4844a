//! What all sessions' drivers share.

use std::path::PathBuf;
use std::sync::Arc;

use delivery::{FarSide, Opener, Shown};
use record::Recorder;
use route::Destinations;
use spool::Spool;
use tls::{Acceptor, Interception};

use crate::called_before::CalledBefore;
use crate::inner_verification::InnerVerification;
use crate::judging::Judge;
use crate::reporting::Reporting;
use crate::signing::Signer;

/// What all sessions share.
pub struct Driver {
    /// Opens connections to servers.
    pub opener: Opener,
    /// Keeps what cannot be delivered at once.
    pub spool: Spool,
    /// Takes events.
    pub recorder: Arc<dyn Recorder>,
    /// The server's part in TLS; `None` where there is no certificate.
    pub acceptor: Option<Acceptor>,
    /// Finds the world's servers; `None` where no mail goes out.
    pub destinations: Option<Arc<dyn Destinations>>,
    /// How the far sides of intercepted connections are met, and shown to those who were on their way to them; `None`
    /// where nothing is intercepted.
    pub interception: Option<Intercepting>,
    /// Tells senders what became of their messages; `None`: nobody is told, and of no sender it is known whether he may be.
    pub reporting: Option<Arc<Reporting>>,
    /// Judges mail; `None` where nobody does.
    pub judge: Option<Arc<dyn Judge>>,
    /// Signs what leaves for the world; `None` where nobody does.
    pub signer: Option<Arc<dyn Signer>>,
    /// Where content that is too large for memory lies while its session lasts; files in it have no name.
    pub spill: PathBuf,
}

/// What is needed to stand in for servers in the world (DECISIONS 15, 16).
pub struct Intercepting {
    /// How they are met.
    pub far_side: FarSide,
    /// Makes certificates like theirs.
    pub leaves: Arc<Interception>,
    /// Hidden servers that do not take them.
    pub inner: Arc<InnerVerification>,
    /// What hidden servers call themselves.
    pub called: CalledBefore,
}

impl Driver {
    /// What takes the server's part in a handshake: with a certificate like the one that was shown, if one was.
    pub(super) fn acceptor_like(&self, shown: Option<&Shown>) -> Result<Acceptor, Box<str>> {
        match (shown, &self.interception) {
            (Some(Shown::Certificates { chain, genuine, .. }), Some(intercepting)) => {
                intercepting.leaves.acceptor(chain, *genuine).map_err(|error| error.reason())
            }
            (None, _) => self.acceptor.clone().ok_or_else(|| "no certificate".into()),
            _ => Err("the far side has no certificate to imitate".into()),
        }
    }
}
