//! Whether a reverse-path is its sender's own: SPF, and where that does not say so, DMARC of the whole message.

use std::time::Duration;

use evidence::{Authenticator, MAX_MESSAGE, Sender, Verdict};
use relay::{Claim, Proving};
use smtp::ReversePath;
use spool::SenderProof;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::outbound::Names;

/// For one sender; the client waits for its 250 meanwhile, and for the disk behind it.
const BUDGET: Duration = Duration::from_secs(10);

/// Whole messages in memory at once, each of up to [`MAX_MESSAGE`] octets; others wait within their budget.
const MESSAGES_AT_ONCE: usize = 16;

/// Asks the name servers that all else asks.
pub(super) struct Senders {
    names: Names,
    authenticator: OnceCell<Authenticator>,
    messages: Semaphore,
}

impl Senders {
    pub(super) fn new(names: Names) -> Self {
        Self { names, authenticator: OnceCell::new(), messages: Semaphore::new(MESSAGES_AT_ONCE) }
    }

    async fn authenticator(&self) -> Option<&Authenticator> {
        let make = || async { self.names.resolver().await.map(Authenticator::new) };
        self.authenticator.get_or_try_init(make).await.ok()
    }

    async fn look(&self, claim: Claim<'_>, deadline: Instant) -> SenderProof {
        let Some(authenticator) = self.authenticator().await else { return SenderProof::Unknown };
        let Claim { client, helo, reverse_path, content } = claim;
        let sender = Sender { client, helo, reverse_path };
        let spf = authenticator.spf(sender, deadline).await;
        if spf.verdict == Verdict::Pass {
            return SenderProof::Spf;
        }
        if content.length() > MAX_MESSAGE as u64 {
            return SenderProof::Unknown;
        }
        let _turn = self.messages.acquire().await;
        let Ok(message) = content.beginning(MAX_MESSAGE).await else { return SenderProof::Unknown };
        let authenticity = authenticator.authenticity(sender, &spf, &message, deadline).await;
        match evidence::proves_sender(&authenticity.dmarc, reverse_path) {
            true => SenderProof::Dmarc,
            false => SenderProof::Unknown,
        }
    }
}

impl relay::Senders for Senders {
    fn prove<'a>(&'a self, claim: Claim<'a>) -> Proving<'a> {
        Box::pin(async move {
            // Nobody is told of a report.
            if *claim.reverse_path == ReversePath::Null {
                return SenderProof::Unknown;
            }
            let deadline = Instant::now() + BUDGET;
            timeout_at(deadline, self.look(claim, deadline)).await.unwrap_or(SenderProof::Unknown)
        })
    }
}
