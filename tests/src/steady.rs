//! Mail at a steady rate, for what happens meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clients::wire;
use crate::gateway::LIMIT;
use crate::lab::Host;
use crate::mail::Mail;
use crate::ports;

/// Between two mails of one sender.
const PAUSE: Duration = Duration::from_millis(40);
/// Senders at a time.
const SENDERS: usize = 4;
/// So many mails have to get through before and after whatever happens.
const ENOUGH: usize = 40;

/// A mail, and the dialogue in which it was accepted or not.
pub type Sent = (Mail, Result<String, String>);

/// Mail on its way from a machine to an address, until it is told to end.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    senders: Vec<JoinHandle<Vec<Sent>>>,
}

impl Load {
    /// Begins.
    pub fn start(host: &Host, address: SocketAddr, recipient: &'static str) -> Self {
        let (stop, accepted) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&accepted));
        let senders = host.run(move || {
            let send = move || {
                let mut all = Vec::new();
                while !stopping.load(Ordering::Relaxed) {
                    let mail = Mail::new("a@source.test", &[recipient], "steady\n");
                    let said = wire::submit(address, &mail);
                    counting.fetch_add(usize::from(said.is_ok()), Ordering::Relaxed);
                    all.push((mail, said));
                    thread::sleep(PAUSE);
                }
                all
            };
            (0..SENDERS).map(|_| thread::spawn(send.clone())).collect()
        });
        Self { stop, accepted, senders }
    }

    /// Until forty more were accepted.
    ///
    /// # Panics
    ///
    /// If that takes too long.
    pub fn go_on(&self) {
        let before = self.accepted.load(Ordering::Relaxed);
        let enough = || (self.accepted.load(Ordering::Relaxed) >= before + ENOUGH).then_some(());
        assert!(ports::wait_until(LIMIT, enough).is_some(), "mail does not get through");
    }

    /// Ends; all that was sent.
    ///
    /// # Panics
    ///
    /// If a sender did.
    pub fn end(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.senders.into_iter().flat_map(|sender| sender.join().expect("a sender that ends")).collect()
    }
}
