//! The TLSA records of the hosts whose mail is taken (DECISIONS 26): what they should say, what they say, and writing them where that
//! is allowed. What others have published there is left alone.

use std::sync::Arc;
use std::time::Duration;

use acme::roll::Seen;
use acme::{Certifier, is_private, is_reserved};
use dns::update::{Change, Content, Updater};
use dns::{Answer, DnsError, Proof, Tlsa};
use route::Lookup as _;
use smtp::Domain;
use tls::{Chain, Pin};

use super::super::arming::Published;
use super::{Certifying, identities};
use crate::report::{TlsaMatch, TlsaState};
use crate::zone::Association;

/// How long the records hold that are written here.
const TTL: Duration = Duration::from_secs(3600);

/// What one host has published.
struct Host {
    state: TlsaState,
    seen: Seen,
    associations: Vec<Association>,
}

/// Looks at all hosts; how the next key stands with them.
pub(super) async fn published(certifying: &Certifying, certifier: &Certifier) -> Seen {
    let (config, hosts) = {
        let now = certifying.now();
        (Arc::clone(&now.config), now.hosts.clone())
    };
    let own = config.hostname.as_str().to_ascii_lowercase();
    let hosts = if hosts.is_empty() { vec![own] } else { hosts };
    let private = config.acme.enabled && is_private(&config.acme.directory);
    let (mut states, mut all, mut associations) = (Vec::new(), Vec::new(), Vec::new());
    for host in hosts.iter().filter(|host| private || !is_reserved(host)) {
        let Ok(domain) = host.parse::<Domain>() else { continue };
        let looked = host_is(certifying, certifier, &domain).await;
        all.push(looked.seen);
        associations.extend(looked.associations);
        states.push(looked.state);
    }
    if !states.is_empty() {
        certifying.zones.associations_are(associations);
    }
    certifying.now().tlsa = states;
    together(&all)
}

/// All of them must have the next key's record, but for those that have none at all.
fn together(all: &[Seen]) -> Seen {
    let longest = all.iter().filter_map(|seen| match seen {
        Seen::Next(ttl) => Some(*ttl),
        _ => None,
    });
    if all.contains(&Seen::Missing) {
        Seen::Missing
    } else if all.contains(&Seen::Unclear) {
        Seen::Unclear
    } else {
        longest.max().map_or(Seen::Nothing, Seen::Next)
    }
}

async fn host_is(certifying: &Certifying, certifier: &Certifier, host: &Domain) -> Host {
    let shown = identities(&certifying.relay).map(|identities| identities.shown_for(host.as_str()));
    let shown = shown.unwrap_or_default();
    let pins: Vec<Pin> = shown.iter().filter_map(pin).collect();
    let keys = certifier.state().keys;
    let serving: Vec<Pin> = keys.iter().map(|key| key.current).collect();
    // Where a certificate from files is shown, there is no next key to promise.
    let ordered = !pins.is_empty() && pins.iter().all(|pin| serving.contains(pin));
    let both = keys.iter().flat_map(|key| [key.current, key.next]);
    let should: Vec<Pin> = if ordered { both.collect() } else { pins };
    let mut trouble = None;
    let mut longest = Duration::ZERO;
    if let Some(updater) = certifier.updater().filter(|_| ordered) {
        match bring_up_to_date(certifier, &updater, host, &should).await {
            Ok(ttl) => longest = ttl,
            Err(error) => trouble = Some(error),
        }
    }
    let names = certifying.now().names.clone();
    let answer = names.tlsa(host, 25).await;
    let mut host = described(host, &answer, &shown, &should, ordered.then_some(&serving));
    if let Seen::Next(ttl) = &mut host.seen {
        *ttl = (*ttl).max(longest);
    }
    if let Some(trouble) = trouble {
        tracing::warn!(host = host.state.host, trouble, "TLSA records cannot be written");
        host.state.words = format!("{} They cannot be written: {trouble}.", host.state.words);
    }
    host
}

fn pin(chain: &Chain) -> Option<Pin> {
    Pin::of_certificate(chain.certificates().first()?)
}

/// DANE-EE, the public key, SHA-256: what stays when a certificate is renewed with its key (RFC 7671 §5.1).
fn record(pin: &Pin) -> Tlsa {
    Tlsa { usage: 3, selector: 1, matching: 1, data: pin.digest().into() }
}

fn text(tlsa: &Tlsa) -> String {
    let data: String = tlsa.data.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{} {} {} {data}", tlsa.usage, tlsa.selector, tlsa.matching)
}

/// Adds what is missing at the primary, and removes what was written here before and belongs to no key any more. How long the set
/// holds.
async fn bring_up_to_date(
    certifier: &Certifier,
    updater: &Updater,
    host: &Domain,
    should: &[Pin],
) -> Result<Duration, String> {
    let owner: Domain = format!("_25._tcp.{host}").parse().map_err(|_| "the name is too long".to_owned())?;
    let (there, ttl) = updater.tlsa(&owner).await.map_err(|error| error.to_string())?;
    let wanted: Vec<[u8; 32]> = should.iter().map(|pin| pin.digest()).collect();
    let missing = should.iter().map(record).filter(|record| !there.contains(record));
    let mut changes: Vec<_> = missing.map(|record| Change::Add(Content::Tlsa(record), TTL)).collect();
    let stale = certifier.written(host.as_str()).into_iter().filter(|digest| !wanted.contains(digest));
    let stale = stale.map(|digest| record(&Pin::from(digest))).filter(|record| there.contains(record));
    changes.extend(stale.map(|record| Change::Remove(Content::Tlsa(record))));
    if !changes.is_empty() {
        // Known before it is so: what was written is never forgotten.
        let mut known = certifier.written(host.as_str());
        known.extend(wanted.iter().filter(|digest| !known.contains(digest)).copied().collect::<Vec<_>>());
        certifier.written_is(host.as_str(), &known).map_err(|error| error.to_string())?;
        updater.change(&owner, &changes).await.map_err(|error| error.to_string())?;
        tracing::info!(%owner, changes = changes.len(), "TLSA records were written");
        certifier.written_is(host.as_str(), &wanted).map_err(|error| error.to_string())?;
    }
    Ok(ttl.max(TTL))
}

fn described(
    host: &Domain,
    answer: &Result<Answer<Tlsa>, DnsError>,
    shown: &[Chain],
    should: &[Pin],
    serving: Option<&Vec<Pin>>,
) -> Host {
    let ordered = serving.is_some();
    let publish: Vec<String> = should.iter().map(record).map(|record| text(&record)).collect();
    let records = answer.as_ref().map(|answer| answer.records.as_slice()).unwrap_or_default();
    let all_there = should.iter().map(record).all(|record| records.contains(&record));
    let (state, seen, words) = match (Published::compare(answer, shown), answer) {
        (Published::Unclear(why), _) => {
            (TlsaMatch::Unclear, Seen::Unclear, format!("They cannot be looked up now: {why}."))
        }
        (Published::Nothing, Ok(answer)) if answer.proof != Proof::Secure => {
            (TlsaMatch::Nothing, Seen::Nothing, "The zone is not signed: nobody looks at them.".to_owned())
        }
        (Published::Nothing, _) => (
            TlsaMatch::Nothing,
            Seen::Nothing,
            "None are published. Where the zone is signed, publish these.".to_owned(),
        ),
        (Published::Differs, _) => (
            TlsaMatch::Wrong,
            Seen::Missing,
            format!(
                "Publish {} at _25._tcp.{host} now, beside or instead of what is there.",
                publish.join(" and ")
            ),
        ),
        (Published::Matches, Ok(answer)) if all_there && ordered => (
            TlsaMatch::Right,
            Seen::Next(answer.ttl),
            "They match, for this key and the next one.".to_owned(),
        ),
        (Published::Matches, _) if ordered => (
            TlsaMatch::NextMissing,
            Seen::Missing,
            format!(
                "They match; publish {} beside them, so that the key can be changed.",
                publish.join(" and ")
            ),
        ),
        (Published::Matches, _) => (TlsaMatch::Right, Seen::Nothing, "They match.".to_owned()),
    };
    let published = records.iter().map(text).collect();
    let association = |pin: &Pin| Association {
        host: host.to_string(),
        digest: pin.digest(),
        serves: serving.is_none_or(|serving| serving.contains(pin)),
    };
    let associations = should.iter().map(association).collect();
    Host { associations, state: TlsaState { host: host.to_string(), publish, published, state, words }, seen }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tls::Identity;

    fn looked(
        records: impl Fn(Pin, Pin) -> Vec<Tlsa>,
        proof: Proof,
        ordered: bool,
    ) -> (TlsaMatch, Seen, String) {
        let identity =
            Identity::self_signed(&["mx.example.net"], Duration::from_secs(1_795_288_205)).unwrap();
        let (current, next) = (identity.pin(), Pin::from([7; 32]));
        let records = records(current, next);
        let answer = match records.is_empty() {
            true => Err(DnsError::NoRecords { proof }),
            false => Ok(Answer { records, proof, ttl: TTL, canonical: None, left_out: 0 }),
        };
        let shown = [Chain::new(identity.chain())];
        let should = if ordered { vec![current, next] } else { vec![current] };
        let serving = ordered.then(|| vec![current]);
        let host = described(&"mx.example.net".parse().unwrap(), &answer, &shown, &should, serving.as_ref());
        (host.state.state, host.seen, host.state.words)
    }

    #[test]
    fn records_that_match_neither_key_are_an_alarm_and_nothing_published_is_none() {
        let other = |_: Pin, _: Pin| vec![record(&Pin::from([9; 32]))];
        let (state, seen, words) = looked(other, Proof::Secure, true);
        assert_eq!((state, seen), (TlsaMatch::Wrong, Seen::Missing));
        assert!(words.contains("3 1 1 0707"), "{words}");
        let (state, seen, _) = looked(other, Proof::Insecure, true);
        assert_eq!((state, seen), (TlsaMatch::Nothing, Seen::Nothing));
        let (state, seen, _) = looked(|_, _| Vec::new(), Proof::Secure, true);
        assert_eq!((state, seen), (TlsaMatch::Nothing, Seen::Nothing));
    }

    #[test]
    fn both_keys_are_right_one_is_not_enough_and_a_certificate_from_files_has_no_next() {
        let (state, seen, _) = looked(|now, next| vec![record(&now), record(&next)], Proof::Secure, true);
        assert_eq!((state, seen), (TlsaMatch::Right, Seen::Next(TTL)));
        let (state, seen, _) = looked(|now, _| vec![record(&now)], Proof::Secure, true);
        assert_eq!((state, seen), (TlsaMatch::NextMissing, Seen::Missing));
        let (state, _, _) = looked(|now, _| vec![record(&now)], Proof::Secure, false);
        assert_eq!(state, TlsaMatch::Right);
    }

    #[test]
    fn one_host_without_the_next_record_keeps_the_key_back() {
        let day = Duration::from_secs(86_400);
        assert_eq!(together(&[Seen::Next(TTL), Seen::Nothing, Seen::Next(day)]), Seen::Next(day));
        assert_eq!(together(&[Seen::Next(TTL), Seen::Unclear]), Seen::Unclear);
        assert_eq!(together(&[Seen::Unclear, Seen::Missing]), Seen::Missing);
        assert_eq!(together(&[]), Seen::Nothing);
    }
}
