//! How mail in the name of others' domains fared, kept by day and domain in the store, and reported to whoever asks for it (RFC 9990). Of
//! recipients nothing is kept. Messages that are reports are not counted: two who report to each other would never end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use evidence::{Authenticator, Authenticity, Published, Spf, Verdict};
use record::Clock;
use relay::Relay;
use sha2::{Digest as _, Sha256};
use smtp::ReversePath;
use store::{Store, StoreError, Table};
use tokio::sync::OnceCell;

use super::letters::{Letter, Letters};
use super::outbound::Names;
use super::tally::{self, Tally};
use crate::config::Config;
use crate::dmarc_report::{Disposition, Report, Row};
use crate::tls_report::DAY;

/// Counts, by day, author's domain and how its mail fared.
const TALLY: Table = Table("dmarc-tally");
/// Signatures of a row; a message has one or two.
const MAX_SIGNATURES: usize = 3;
/// Octets of a row, in JSON; of a longer one the signatures are left out.
const MAX_ROW: usize = 640;
/// Rows of one report: what a mail takes.
const MAX_ROWS: usize = 10_000;
/// Rows of one day: who sends in the names of many domains fills no disk. A row is counted again with each write.
const MAX_A_DAY: u64 = 200_000;
/// A report that could not be made within so many days is not made any more.
const FORGET: u64 = 4;

/// The tally.
pub(super) struct DmarcReports {
    tally: Tally,
    clock: Arc<dyn Clock>,
    letters: Arc<Letters>,
    present: Mutex<Option<Arc<Present>>>,
    /// The day, and how many rows were counted in it.
    counted: Mutex<(u64, u64)>,
}

/// One config's worth.
struct Present {
    hostname: String,
    postmaster: String,
    /// Where others report to, if that is Postern itself: it need not tell itself.
    own: Option<String>,
    sends: bool,
    names: Names,
    authenticator: OnceCell<Authenticator>,
}

/// The policy of a domain, and the authors' domains that it is for.
type Due = (Published, Vec<Box<str>>);

/// A message that was judged.
pub(super) struct Seen<'a> {
    pub(super) client: IpAddr,
    pub(super) reverse_path: &'a ReversePath,
    pub(super) spf: &'a Spf,
    pub(super) authenticity: &'a Authenticity,
    pub(super) verdict: record::Verdict,
}

impl DmarcReports {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, letters: Arc<Letters>) -> Arc<Self> {
        Arc::new(Self {
            tally: Tally::new(TALLY, store),
            clock,
            letters,
            present: Mutex::default(),
            counted: Mutex::default(),
        })
    }

    /// From now on these are the names.
    pub(super) fn config_is(&self, config: &Config, names: Names) {
        let present = Present {
            hostname: config.hostname.to_string(),
            postmaster: config.postmaster.clone(),
            own: config.reports_come_here().then(|| config.reports.address.to_lowercase()),
            sends: config.reports.dmarc,
            names,
            authenticator: OnceCell::new(),
        };
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(present));
    }

    fn present(&self) -> Option<Arc<Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a message, if its author's domain asks for reports.
    pub(super) fn note(&self, seen: &Seen<'_>) {
        let dmarc = &seen.authenticity.dmarc;
        let is_known = !matches!(dmarc.verdict, Verdict::TempError | Verdict::None);
        let comes_again = seen.verdict == record::Verdict::Defer;
        if !dmarc.wants_reports || !is_known || comes_again || !self.present().is_some_and(|it| it.sends) {
            return;
        }
        let day = self.clock.now().as_secs() / DAY;
        let is_counted = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if counted.0 != day {
                *counted = (day, 0);
            }
            counted.1 += 1;
            counted.1 <= MAX_A_DAY
        };
        let author = dmarc.domain.to_lowercase();
        let told =
            is_counted && told(&row(seen)).is_some_and(|row| self.tally.note(day, &author, &row, None));
        if !told {
            tracing::debug!(domain = author, "a message is not counted for a report on DMARC");
        }
    }

    /// Puts what was counted into the store.
    pub(super) async fn write(&self) {
        if let Err(error) = self.tally.write().await {
            tracing::error!(%error, "what is to be reported of DMARC cannot be stored, and is tried again");
        }
    }

    /// Writes, and reports on days that are over, until the relay drains.
    pub(super) async fn keep(self: Arc<Self>, relay: Arc<Relay>) {
        let mut round = tally::Round::default();
        while !relay.is_draining() {
            let looks = round.next().await;
            self.write().await;
            if looks && let Err(error) = self.report(&relay).await {
                tracing::error!(%error, "reports on DMARC cannot be made now");
            }
        }
    }

    /// Reports on every day that is over, and forgets it.
    async fn report(&self, relay: &Relay) -> Result<(), StoreError> {
        let Some(present) = self.present() else { return Ok(()) };
        let today = tally::today(self.clock.now(), &present.hostname);
        let mut due: BTreeMap<(u64, Box<str>), Due> = BTreeMap::new();
        for (day, author) in self.tally.before(today).await? {
            match present.published(&author).await {
                Ok(Some(published)) if present.sends && !published.addresses.is_empty() => {
                    let key = (day, published.domain.clone());
                    due.entry(key).or_insert_with(|| (published, Vec::new())).1.push(author);
                }
                Err(why) if today - day < FORGET => {
                    tracing::info!(
                        domain = &*author,
                        why,
                        "whether a report on DMARC is wanted cannot be found out yet"
                    );
                }
                Ok(_) | Err(_) => self.tally.forget(day, &author).await?,
            }
        }
        for ((day, domain), (published, authors)) in due {
            match self.send(relay, &present, (day, &published, &authors)).await? {
                Ok(()) => {
                    for author in &authors {
                        self.tally.forget(day, author).await?;
                    }
                }
                Err(why) => tracing::error!(domain = &*domain, why, "a report on DMARC cannot be sent yet"),
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        relay: &Relay,
        present: &Present,
        (day, published, authors): (u64, &Published, &[Box<str>]),
    ) -> Result<Result<(), String>, StoreError> {
        let mut rows: Vec<(Row, u64)> = Vec::new();
        for author in authors {
            for (row, count) in self.tally.counts(day, author, MAX_ROWS - rows.len()).await? {
                rows.extend(serde_json::from_slice(&row).ok().map(|row| (row, count)));
            }
        }
        if rows.is_empty() {
            return Ok(Ok(()));
        }
        let report = Report {
            hostname: &present.hostname,
            contact: &present.postmaster,
            published,
            day,
            part: part(authors),
            rows: &rows,
        };
        let packed = match report.compressed() {
            Ok(packed) => packed,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let takes = |most: usize| most == 0 || packed.len() <= most;
        let mut to = Vec::new();
        for address in &published.addresses {
            let name = address.mailbox.to_string();
            match takes(address.most) {
                _ if present.own.as_ref().is_some_and(|own| name.eq_ignore_ascii_case(own)) => {}
                true => to.push(name),
                false => tracing::info!(
                    domain = &*published.domain,
                    to = name,
                    octets = packed.len(),
                    "a report on DMARC is larger than its reader takes, and is not sent there"
                ),
            }
        }
        let content = report.mail(&to, packed, self.clock.now());
        let letter = Letter { from: &present.postmaster, to: &to, content, what: "a report on DMARC" };
        Ok(self.letters.send(relay, letter).await)
    }
}

impl Present {
    async fn published(&self, author: &str) -> Result<Option<Published>, String> {
        let make = || async { self.names.resolver().await.map(Authenticator::new) };
        let authenticator = self.authenticator.get_or_try_init(make).await;
        let authenticator = authenticator.map_err(|error| error.to_string())?;
        authenticator.published(author).await.map_err(|error| error.to_string())
    }
}

/// Tells reports on one day and policy apart, where a part of it had to wait.
fn part(authors: &[Box<str>]) -> u32 {
    let digest = Sha256::digest(authors.join(" ").as_bytes());
    digest.first_chunk().map(|octets| u32::from_be_bytes(*octets)).unwrap_or_default()
}

fn row(seen: &Seen<'_>) -> Row {
    let Authenticity { dkim, dmarc, .. } = seen.authenticity;
    let failed = !dmarc.dkim && !dmarc.spf;
    let disposition = match seen.verdict {
        record::Verdict::Reject if failed => Disposition::Reject,
        record::Verdict::Quarantine if failed => Disposition::Quarantine,
        _ => Disposition::None,
    };
    let is_less = match dmarc.asked {
        Some(evidence::Asked::Reject) => disposition != Disposition::Reject,
        Some(evidence::Asked::Quarantine) => disposition == Disposition::None,
        _ => false,
    };
    let signature =
        |one: &evidence::Dkim| (lower(&one.domain), one.selector.to_string(), one.verdict.name().to_owned());
    let envelope_from = match seen.reverse_path {
        ReversePath::Null => String::new(),
        ReversePath::Mailbox(mailbox) => {
            mailbox.domain().map_or_else(String::new, |domain| lower(domain.as_str()))
        }
    };
    Row {
        source: seen.client.to_canonical(),
        disposition,
        overridden: failed && is_less,
        dkim: dmarc.dkim,
        spf: dmarc.spf,
        header_from: lower(&dmarc.domain),
        envelope_from,
        signatures: dkim
            .iter()
            .filter(|one| !one.domain.is_empty())
            .take(MAX_SIGNATURES)
            .map(signature)
            .collect(),
        sender: (lower(&seen.spf.domain), seen.spf.verdict.name().to_owned()),
    }
}

/// As it is counted; `None` if it cannot be.
fn told(row: &Row) -> Option<Vec<u8>> {
    let whole = serde_json::to_vec(row).ok()?;
    if whole.len() <= MAX_ROW {
        return Some(whole);
    }
    let shorter = Row { signatures: Vec::new(), ..row.clone() };
    serde_json::to_vec(&shorter).ok().filter(|text| text.len() <= MAX_ROW)
}

fn lower(domain: &str) -> String {
    domain.to_lowercase()
}

#[cfg(test)]
mod tests {
    use evidence::{Asked, Chain, Dkim, Dmarc};

    use super::*;

    fn authenticity(passes: bool) -> Authenticity {
        let verdict = if passes { Verdict::Pass } else { Verdict::Fail };
        Authenticity {
            dkim: vec![Dkim { verdict, domain: "World.test".into(), selector: "a".into(), reason: None }],
            dmarc: Dmarc {
                verdict,
                domain: "world.test".into(),
                dkim: passes,
                spf: false,
                asked: Some(Asked::Quarantine),
                wants_reports: true,
            },
            arc: Chain { verdict: Verdict::None, seals: Vec::new() },
        }
    }

    fn of(passes: bool, verdict: record::Verdict) -> Row {
        let (spf, authenticity) =
            (Spf { verdict: Verdict::Fail, domain: "list.test".into() }, authenticity(passes));
        let seen = Seen {
            client: [192, 0, 2, 1].into(),
            reverse_path: &ReversePath::Null,
            spf: &spf,
            authenticity: &authenticity,
            verdict,
        };
        row(&seen)
    }

    #[test]
    fn what_was_done_is_told_as_far_as_dmarc_was_the_matter() {
        let done = |passes, verdict| {
            let row = of(passes, verdict);
            (row.disposition, row.overridden)
        };
        assert_eq!(done(true, record::Verdict::Reject), (Disposition::None, false), "for its content");
        assert_eq!(done(false, record::Verdict::Reject), (Disposition::Reject, false));
        assert_eq!(done(false, record::Verdict::Quarantine), (Disposition::Quarantine, false));
        assert_eq!(done(false, record::Verdict::Pass), (Disposition::None, true), "less than was asked for");
    }

    #[test]
    fn a_row_that_is_too_long_loses_its_signatures() {
        let mut long = of(true, record::Verdict::Pass);
        assert_eq!(long.signatures, [("world.test".into(), "a".into(), "pass".into())]);
        long.signatures = vec![("x".repeat(255), "y".into(), "pass".into()); 3];
        let read: Row = serde_json::from_slice(&told(&long).unwrap()).unwrap();
        assert!(read.signatures.is_empty() && read.dkim);
        assert_eq!(told(&Row { header_from: "x".repeat(700), ..long }), None);
    }

    #[test]
    fn parts_of_a_day_have_names_of_their_own() {
        assert_ne!(part(&["a.test".into()]), part(&["a.test".into(), "b.test".into()]));
    }
}
