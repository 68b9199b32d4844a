//! Certificates like a far side's.
//!
//! Each has a key of its own (P-256, 20 µs): what an inner server remembers of one far side says nothing about
//! another. The serial number is rcgen's, a hash of that key, hence unique.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::chain::EndEntity;
use crate::identity::Minted;
use crate::{Authority, Identity, SubjectName, TlsError};

/// How long a leaf that the authority signed is valid from the moment it is minted: whatever becomes known of a far side, and
/// whoever gets hold of a leaf's key, it is over soon.
pub(crate) const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// 9999-12-31T23:59:59Z, the last moment that X.509 can express (RFC 5280 §4.1.2.5).
const LAST_MOMENT: u64 = 253_402_300_799;
/// Subject and issuer of a copy of a certificate without any name.
const NAMELESS: &str = "unnamed";

/// Signed by the authority. It has the far side's common name only where that is also one of the names that were verified:
/// a verifier of old that goes by the common name learns nothing that was not.
pub(crate) fn signed(far: &EndEntity, authority: &Authority, now: Duration) -> Result<Identity, TlsError> {
    let end = moment(far.not_after).min(now.saturating_add(LIFE)).min(authority.not_after());
    let mut params = params(far, moment(far.not_before), end)?;
    let proved = |name: &str| far.names.iter().any(|other| other.to_string().eq_ignore_ascii_case(name));
    if let Some(name) = far.common_name.as_deref().filter(|name| proved(name)) {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.use_authority_key_identifier_extension = true;
    let key = new_key()?;
    let certificate = params.signed_by(&*key, authority.issuer())?;
    identity(far, vec![certificate.into(), authority.certificate().clone()], &key, end)
}

/// Signed by itself, with the far side's dates as they are.
pub(crate) fn self_signed(far: &EndEntity) -> Result<Identity, TlsError> {
    let end = moment(far.not_after);
    let mut params = params(far, moment(far.not_before), end)?;
    let short = |name: &SubjectName| Some(name.to_string()).filter(|name| name.len() <= 64);
    let name = far.common_name.as_deref().map(str::to_owned);
    let name = name.or_else(|| far.names.first().and_then(short)).unwrap_or_else(|| NAMELESS.to_owned());
    params.distinguished_name.push(DnType::CommonName, name);
    let key = new_key()?;
    let certificate = params.self_signed(&*key)?;
    identity(far, vec![certificate.into()], &key, end)
}

/// Names and dates, without a subject.
fn params(far: &EndEntity, begin: Duration, end: Duration) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + begin;
    params.not_after = epoch + end;
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = far.names.iter().map(san).collect::<Result<_, _>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn san(name: &SubjectName) -> Result<SanType, rcgen::Error> {
    Ok(match name {
        SubjectName::Host(name) => SanType::DnsName((&**name).try_into()?),
        SubjectName::Address(address) => SanType::IpAddress(*address),
    })
}

/// What a far side writes there need not be a moment that can be written again; such a one is long past or far ahead.
fn moment(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(LAST_MOMENT))
}

fn new_key() -> Result<Zeroizing<KeyPair>, rcgen::Error> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Zeroizing::new)
}

fn identity(
    far: &EndEntity,
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
    not_after: Duration,
) -> Result<Identity, TlsError> {
    let names = far.names.iter().map(|name| name.to_string().into_boxed_str()).collect();
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|words| TlsError::Setup(words.into()))?;
    Identity::minted(Minted { chain, key: &Zeroizing::new(key), names, not_after })
}
