//! What the demo's mail server has taken: the last messages, bounded in number and in octets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smtp::Envelope;

/// Messages kept.
const MAX_MESSAGES: usize = 50;
/// Octets of content kept: a demo that runs for a week does not fill the laptop.
const MAX_BYTES: usize = 32 << 20;

/// A message that was taken.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) envelope: Envelope,
    pub(super) content: Arc<[u8]>,
    /// Whether it came over TLS.
    pub(super) encrypted: bool,
}

/// The last messages.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    messages: VecDeque<Received>,
    bytes: usize,
    count: u64,
}

impl Inbox {
    /// Keeps one more, and tells its number, from 1.
    pub(super) fn keep(&self, message: Received) -> u64 {
        let mut kept = self.kept();
        kept.bytes += message.content.len();
        kept.messages.push_back(message);
        while kept.messages.len() > MAX_MESSAGES || kept.bytes > MAX_BYTES {
            let Some(oldest) = kept.messages.pop_front() else { break };
            kept.bytes -= oldest.content.len();
        }
        kept.count += 1;
        kept.count
    }

    /// Those of a sender, oldest first.
    pub(super) fn from(&self, sender: &str) -> Vec<Received> {
        let wanted = |message: &&Received| message.envelope.mail.reverse_path.as_str() == sender;
        self.kept().messages.iter().filter(wanted).cloned().collect()
    }

    /// How many were taken since the start.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.kept().count
    }

    /// Nothing panics while it holds the lock.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let inbox = Inbox::default();
        let envelope = |sender: &str| Envelope::read(format!("MAIL FROM:<{sender}>\r\n").as_bytes()).unwrap();
        let large = vec![0; MAX_BYTES / 2].into();
        inbox.keep(Received { envelope: envelope("a@x.example"), content: large, encrypted: true });
        for _ in 0..MAX_MESSAGES {
            let content = vec![0; MAX_BYTES / 60].into();
            inbox.keep(Received { envelope: envelope("b@x.example"), content, encrypted: true });
        }
        assert_eq!(inbox.count(), 51);
        assert!(inbox.from("a@x.example").is_empty());
        assert_eq!(inbox.from("b@x.example").len(), 50);
    }
}
