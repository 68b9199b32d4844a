//! Changes at the primary server of a zone: RFC 2136, signed with TSIG (RFC 8945). For what has to follow the appliance by itself:
//! the answers of dns-01, TLSA records, ids of policies.
//!
//! Everything goes over TCP, one connection to a message. Which zone a name lies in the primary says itself. What it answers
//! to a signed change must be signed, too.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode, UpdateMessage as _};
use hickory_resolver::proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_resolver::proto::rr::rdata::{TLSA, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};
use record::Clock;
use smtp::Domain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answer::{MAX_TEXTS, MAX_TLSA, Text, Tlsa};
use crate::reading::{Kind, question};

/// From connecting to the whole answer; a primary that signs its zone has to do so first.
const DEADLINE: Duration = Duration::from_secs(15);
/// How far the clocks may be apart (RFC 8945 §10).
const FUDGE: u16 = 300;
/// Octets of one string of a TXT record (RFC 1035 §3.3).
const MAX_STRING: usize = 255;

/// How changes are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-384.
    Sha384,
    /// HMAC with SHA-512.
    Sha512,
}

impl Algorithm {
    /// By the name that RFC 8945 §6 gives it, such as `hmac-sha256`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "hmac-sha256" => Some(Self::Sha256),
            "hmac-sha384" => Some(Self::Sha384),
            "hmac-sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn of_hickory(self) -> TsigAlgorithm {
        match self {
            Self::Sha256 => TsigAlgorithm::HmacSha256,
            Self::Sha384 => TsigAlgorithm::HmacSha384,
            Self::Sha512 => TsigAlgorithm::HmacSha512,
        }
    }
}

/// A TSIG key.
#[derive(Clone)]
pub struct TsigKey {
    /// Its name, as the server has it.
    pub name: Domain,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The key itself, decoded.
    pub secret: Vec<u8>,
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A TXT record; split into strings where it is longer than one.
    Text(Box<str>),
    /// A TLSA record.
    Tlsa(Tlsa),
}

impl Content {
    fn of_hickory(&self) -> RData {
        match self {
            Self::Text(text) => {
                let strings = text.as_bytes().chunks(MAX_STRING).collect();
                RData::TXT(TXT::from_bytes(strings))
            }
            Self::Tlsa(tlsa) => RData::TLSA(TLSA::new(
                tlsa.usage.into(),
                tlsa.selector.into(),
                tlsa.matching.into(),
                tlsa.data.to_vec(),
            )),
        }
    }
}

/// One change at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A record more; nothing, where it is there already.
    Add(Content, Duration),
    /// This record no more; nothing, where it is not there.
    Remove(Content),
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The server does not answer in time.
    #[error("{0} does not answer in time")]
    TimedOut(SocketAddr),
    /// It cannot be reached, or breaks off.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(SocketAddr, Box<str>),
    /// What it sent cannot be read, or answers something else.
    #[error("what {0} answers cannot be used: {1}")]
    Garbled(SocketAddr, Box<str>),
    /// It is no server of the zone that the name lies in.
    #[error("{server} does not serve the zone of {name}: set [dns_update] server to its primary")]
    NotItsZone {
        /// Whom was asked.
        server: SocketAddr,
        /// For what.
        name: Domain,
    },
    /// It says no.
    #[error("{server} refuses the change in {zone}: {code}. {advice}")]
    Refused {
        /// Who.
        server: SocketAddr,
        /// The zone.
        zone: Box<str>,
        /// The response code (RFC 2136 §2.2, RFC 8945 §3).
        code: Box<str>,
        /// What to look at.
        advice: &'static str,
    },
    /// The key cannot be used, or the name is none.
    #[error("{0}")]
    Wrong(Box<str>),
}

/// Changes records at one primary server.
#[derive(Clone)]
pub struct Updater {
    server: SocketAddr,
    signer: Option<TSigner>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Updater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updater").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Updater {
    /// Nothing is sent yet. Without a key changes are not signed, and the server has to trust the address.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Wrong`]: the key's name or its algorithm cannot be used.
    pub fn new(
        server: SocketAddr,
        key: Option<&TsigKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, UpdateError> {
        let signer = |key: &TsigKey| {
            let name = question(&key.name).map_err(|error| UpdateError::Wrong(error.to_string().into()))?;
            let algorithm = key.algorithm.of_hickory();
            TSigner::new(key.secret.clone(), algorithm, name, FUDGE)
                .map_err(|error| UpdateError::Wrong(format!("the TSIG key cannot be used: {error}").into()))
        };
        Ok(Self { server, signer: key.map(signer).transpose()?, clock })
    }

    /// Carries out all changes at a name together, or none of them.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]. After one in the middle of it (a connection that broke) they may have been carried out.
    pub async fn change(&self, name: &Domain, changes: &[Change]) -> Result<(), UpdateError> {
        let (owner, zone) = (self.name(name)?, self.zone(name).await?);
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        message.add_zone(Query::query(zone.clone(), RecordType::SOA));
        for change in changes {
            message.add_update(match change {
                Change::Add(content, ttl) => {
                    let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
                    Record::from_rdata(owner.clone(), ttl, content.of_hickory())
                }
                // RFC 2136 §2.5.4.
                Change::Remove(content) => {
                    let mut record = Record::from_rdata(owner.clone(), 0, content.of_hickory());
                    record.dns_class = DNSClass::NONE;
                    record
                }
            });
        }
        let answer = self.exchange(message, true).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            code => Err(self.refused(&zone, code)),
        }
    }

    /// The TXT records that the primary has at a name.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; that there are none is no error.
    pub async fn texts(&self, name: &Domain) -> Result<Vec<Text>, UpdateError> {
        Ok(self.read::<Text>(name, MAX_TEXTS * 4).await?.0)
    }

    /// The TLSA records that the primary has at a name, which has port and protocol before the host's (RFC 6698 §3), and how
    /// long they hold.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; that there are none is no error.
    pub async fn tlsa(&self, name: &Domain) -> Result<(Vec<Tlsa>, Duration), UpdateError> {
        self.read::<Tlsa>(name, MAX_TLSA).await
    }

    async fn read<T: Kind>(&self, name: &Domain, limit: usize) -> Result<(Vec<T>, Duration), UpdateError> {
        let mut message = Message::query();
        message.metadata.recursion_desired = false;
        message.add_query(Query::query(self.name(name)?, T::TYPE));
        let answer = self.exchange(message, false).await?;
        let mut longest = 0;
        let mut found = Vec::new();
        for record in answer.answers.iter().take(limit) {
            if let Some(Some(read)) = T::read(&record.data) {
                longest = longest.max(record.ttl);
                found.push(read);
            }
        }
        Ok((found, Duration::from_secs(longest.into())))
    }

    /// The zone that a name lies in.
    async fn zone(&self, name: &Domain) -> Result<Name, UpdateError> {
        let mut message = Message::query();
        message.metadata.recursion_desired = false;
        message.add_query(Query::query(self.name(name)?, RecordType::SOA));
        let answer = self.exchange(message, false).await?;
        zone_of(&answer, &self.name(name)?)
            .ok_or_else(|| UpdateError::NotItsZone { server: self.server, name: name.clone() })
    }

    fn name(&self, name: &Domain) -> Result<Name, UpdateError> {
        question(name).map_err(|error| UpdateError::Wrong(format!("{name}: {error}").into()))
    }

    async fn exchange(&self, mut message: Message, sign: bool) -> Result<Message, UpdateError> {
        let garbled = |why: &dyn fmt::Display| UpdateError::Garbled(self.server, why.to_string().into());
        let id = message.metadata.id;
        let verifier = match self.signer.as_ref().filter(|_| sign) {
            Some(signer) => {
                message.finalize(signer, self.clock.now().as_secs()).map_err(|error| garbled(&error))?
            }
            None => None,
        };
        let octets = message.to_vec().map_err(|error| garbled(&error))?;
        let answer = timeout(DEADLINE, send(self.server, &octets)).await;
        let answer = answer.map_err(|_| UpdateError::TimedOut(self.server))?;
        let answer =
            answer.map_err(|error| UpdateError::Unreachable(self.server, error.to_string().into()))?;
        let read = read_answer(&answer, id).map_err(|why| garbled(&why))?;
        // A server that does not know the key cannot sign its no.
        if let Some(mut verifier) = verifier
            && read.metadata.response_code == ResponseCode::NoError
        {
            verifier.verify(&answer).map_err(|error| garbled(&error))?;
        }
        Ok(read)
    }

    fn refused(&self, zone: &Name, code: ResponseCode) -> UpdateError {
        let advice = match code {
            ResponseCode::NotAuth | ResponseCode::BADSIG | ResponseCode::BADKEY => {
                "Name and secret in [dns_update] tsig must be those of the server, and the clocks right."
            }
            ResponseCode::Refused => "The key needs the right to update this zone there.",
            ResponseCode::NotZone => "It is not the primary of this zone.",
            _ => "Its log says more.",
        };
        UpdateError::Refused {
            server: self.server,
            zone: zone.to_ascii().into(),
            code: code.to_str().into(),
            advice,
        }
    }
}

/// RFC 1035 §4.2.2: the length in two octets, then the message. Nothing is read beyond it.
async fn send(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Reads an answer to the message with this identifier. An error: it is no message, or no answer to that one.
fn read_answer(octets: &[u8], id: u16) -> Result<Message, Box<str>> {
    let message = Message::from_vec(octets).map_err(|error| error.to_string())?;
    if message.metadata.id != id {
        return Err("it answers another question".into());
    }
    Ok(message)
}

/// The apex that an answer to a question for SOA names: in the answer or, for a name below it, among the authorities (RFC 2308
/// §2). A referral has none.
fn zone_of(answer: &Message, name: &Name) -> Option<Name> {
    let records = answer.answers.iter().chain(&answer.authorities);
    let apex = records.filter(|record| record.record_type() == RecordType::SOA).map(|record| &record.name);
    apex.filter(|apex| apex.zone_of(name)).max_by_key(|apex| apex.num_labels()).cloned()
}

/// What a server's octets come to as an answer to a question for the zone of `name`. For the fuzzer.
#[doc(hidden)]
pub fn zone_in(octets: &[u8], id: u16, name: &Domain) -> Option<String> {
    let answer = read_answer(octets, id).ok()?;
    zone_of(&answer, &question(name).ok()?).map(|zone| zone.to_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    use hickory_resolver::proto::rr::rdata::SOA;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn soa(zone: &str) -> Record {
        let soa = SOA::new(name("ns.example.net."), name("host.example.net."), 1, 60, 60, 60, 60);
        Record::from_rdata(name(zone), 60, RData::SOA(soa))
    }

    #[test]
    fn the_zone_is_the_one_whose_start_the_answer_names_above_the_name() {
        let mut answer = Message::query();
        answer.add_authority(soa("example.net."));
        assert_eq!(zone_of(&answer, &name("_25._tcp.mx.example.net.")), Some(name("example.net.")));
        assert_eq!(zone_of(&answer, &name("mx.example.org.")), None);
        assert_eq!(zone_of(&Message::query(), &name("mx.example.net.")), None, "a referral");
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let octets = Message::query().to_vec().unwrap();
        let id = u16::from_be_bytes([octets[0], octets[1]]);
        assert!(read_answer(&octets, id).is_ok());
        assert!(read_answer(&octets, id.wrapping_add(1)).is_err());
        assert!(read_answer(&octets[..5], id).is_err());
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = TsigKey {
            name: "acme.example.net".parse().unwrap(),
            algorithm: Algorithm::Sha256,
            secret: b"hunter2".to_vec(),
        };
        assert!(!format!("{key:?}").contains("104"), "{key:?}");
    }
}
