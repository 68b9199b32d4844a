//! Answers to mail of people here: what they wanted enough to ask for. An answer names, by `In-Reply-To` (RFC 5322 §3.6.4), a message
//! that went out from here, and its author is of a domain that this message was for, and proven: identifiers of mail to lists can be
//! read by anybody.

use std::time::Duration;

use record::Verdict;
use relay::Case;
use sha2::Digest as _;
use sift::Content;
use store::{Change, Store, StoreError, Table};

use super::acquaintance::noted;
use super::findings::Findings;
use judge::pretence::registered;

/// By a hash of the `Message-ID`: the time, and a hash of each domain that the message was for.
pub(super) const SENT: Table = Table("sent-ids");
/// Domains of one message that are noted: who writes to more at once writes to a crowd.
const MAX_DOMAINS: usize = 20;
/// Octets of a hash.
const HASH: usize = 8;

/// What looks like an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The `Message-ID` of what it answers.
    to: String,
    /// Its author's domain, as somebody registered it.
    author: String,
}

/// The domains that may answer a message that goes out.
pub(super) fn asked(case: &Case) -> Vec<String> {
    let mut domains = Vec::new();
    let recipients = case.recipients.iter().filter_map(|index| case.envelope.recipients.get(index));
    for domain in recipients.filter_map(|recipient| recipient.forward_path.domain()) {
        let domain = registered(domain.as_str()).to_lowercase();
        if !domains.contains(&domain) && domains.len() < MAX_DOMAINS {
            domains.push(domain);
        }
    }
    domains
}

/// A message from the world that may be one. What looks like spam is none, whoever it comes from: who has taken over an account
/// answers what lies in it.
pub(super) fn answer(content: &Content, findings: Option<&Findings>, verdict: Verdict) -> Option<Answer> {
    let field = content.fields.iter().find(|field| field.name == "in-reply-to")?;
    let (_, id) = field.value.split_once('<')?;
    let (id, _) = id.split_once('>')?;
    let author = content.from.first()?.mailbox.rsplit_once('@')?.1;
    let author = registered(author).to_lowercase();
    let is_one = matches!(verdict, Verdict::Pass | Verdict::Tag) && noted::is_proven(&author, findings);
    is_one.then(|| Answer { to: id.to_owned(), author })
}

/// How it is kept that a message went out.
pub(super) fn note(message_id: &str, asked: &[String], now: Duration) -> Vec<Change> {
    if message_id.is_empty() || asked.is_empty() {
        return Vec::new();
    }
    let mut value = now.as_secs().to_be_bytes().to_vec();
    value.extend(asked.iter().flat_map(|domain| hash::<HASH>(domain)));
    vec![Change::Put(hash::<16>(message_id).into(), value.into())]
}

/// Whether it answers something that went out.
pub(super) async fn is_asked_for(store: &Store, answer: &Answer) -> Result<bool, StoreError> {
    let Some(value) = store.get(SENT, &hash::<16>(&answer.to)).await? else { return Ok(false) };
    let author = hash::<HASH>(&answer.author);
    Ok(value.get(8..).unwrap_or_default().chunks_exact(HASH).any(|domain| domain == author))
}

fn hash<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    let digest = sha2::Sha256::digest(text.as_bytes());
    let mut hash = [0; LENGTH];
    hash.iter_mut().zip(digest).for_each(|(octet, of_digest)| *octet = of_digest);
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn an_answer_comes_from_where_the_message_went_to() {
        let folder = tempfile::tempdir().unwrap();
        let settings = store::Settings::in_folder(folder.path().to_owned());
        let store = Store::start(settings, Arc::new(record::SystemClock)).unwrap();
        let asked = ["partner.test".to_owned(), "other.test".to_owned()];
        store.apply(SENT, note("1@here.test", &asked, Duration::from_secs(9))).await.unwrap();
        for (to, author, is_one) in [
            ("1@here.test", "partner.test", true),
            ("1@here.test", "other.test", true),
            ("1@here.test", "reader-of-the-list.test", false),
            ("2@here.test", "partner.test", false),
        ] {
            let answer = Answer { to: to.to_owned(), author: author.to_owned() };
            assert_eq!(is_asked_for(&store, &answer).await.unwrap(), is_one, "{answer:?}");
        }
    }

    #[test]
    fn what_nobody_stands_behind_and_what_names_no_message_is_no_answer() {
        let message = |more: &str| {
            let text = format!("From: Ann <ann@mail.partner.test>\r\n{more}Subject: Re: x\r\n\r\nYes.\r\n");
            sift::read(text.as_bytes(), &sift::Bounds::default())
        };
        let reply = message("In-Reply-To: <1@here.test>\r\n");
        assert_eq!(answer(&reply, None, Verdict::Pass), None, "nobody stands behind it");
        let proven = Findings::by_spf(evidence::Verdict::Pass, "partner.test");
        let found = Answer { to: "1@here.test".into(), author: "partner.test".into() };
        assert_eq!(answer(&reply, Some(&proven), Verdict::Pass), Some(found));
        assert_eq!(answer(&reply, Some(&proven), Verdict::Quarantine), None);
        for more in ["", "In-Reply-To: 1@here.test\r\n", "In-Reply-To: <1@here.test\r\n"] {
            assert_eq!(answer(&message(more), Some(&proven), Verdict::Pass), None, "{more}");
        }
    }
}
