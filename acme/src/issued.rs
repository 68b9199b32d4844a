//! What a CA issued is looked at before it serves: whether it is for the names and the key that were asked for, whether its
//! chain is one, and whether it counts now.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use record::{Clock, FarProof};
use tls::{Chain, Connector, Identity, Ladder, LegPolicy, Roots};

use crate::AcmeError;

/// Octets of a chain in PEM; real ones have 10 KiB, and it is sent at every handshake.
const MAX_CHAIN: usize = 64 * 1024;
/// How far a CA's clock may be ahead.
const AHEAD: Duration = Duration::from_secs(3600);

/// The identity of a chain and a key in PEM.
///
/// # Errors
///
/// [`AcmeError::Unusable`], with the reason.
pub(crate) fn checked(
    chain: &str,
    key: &str,
    names: &[String],
    clock: &Arc<dyn Clock>,
) -> Result<Identity, AcmeError> {
    let now = clock.now();
    let unusable = |why: String| AcmeError::Unusable(why);
    if chain.len() > MAX_CHAIN {
        return Err(unusable(format!("its chain has {} octets", chain.len())));
    }
    let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes(), now)
        .map_err(|error| unusable(error.to_string()))?;
    if identity.not_before() > now + AHEAD {
        return Err(unusable("it is not valid yet; is the clock right?".to_owned()));
    }
    if let Some(missing) = names.iter().find(|name| !proves(&identity, name)) {
        return Err(unusable(format!("it is not for {missing}")));
    }
    if let Some(name) = names.first() {
        is_chain(&identity, name, clock).map_err(unusable)?;
    }
    Ok(identity)
}

/// Whether a certificate is for this very name.
pub(crate) fn proves(identity: &Identity, name: &str) -> bool {
    identity.names().iter().any(|proved| **proved == *name.to_ascii_lowercase())
}

/// Whether the first certificate leads to the last one. Whom the world trusts is the world's affair: the CA may be new, or one's
/// own.
fn is_chain(identity: &Identity, name: &str, clock: &Arc<dyn Clock>) -> Result<(), String> {
    let [_, .., last] = identity.chain() else {
        return Err("its issuer's certificate is missing from the chain".to_owned());
    };
    let roots = Roots::none()
        .with_certificates(std::slice::from_ref(last), Path::new("chain"))
        .map_err(|error| error.to_string())?;
    let policy = LegPolicy { ladder: Ladder::Verify, roots: roots.clone(), ..LegPolicy::default() };
    let connector = Connector::recording(&tls::Settings::default(), &roots, Arc::clone(clock))
        .map_err(|error| error.to_string())?;
    match connector.judge(&Chain::new(identity.chain()), &policy, name) {
        FarProof::Verified => Ok(()),
        _ => Err("its chain does not lead to its issuer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use record::SimulatedClock;

    const NOW: Duration = Duration::from_secs(1_795_288_205);

    struct Made {
        leaf: String,
        issuer: String,
        key: String,
    }

    fn issuer() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn made(names: &[&str], begins: Duration) -> Made {
        let issuer = issuer();
        let mut params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + begins;
        params.not_after = params.not_before + Duration::from_secs(90 * 86_400);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Made { leaf: leaf.pem(), issuer: issuer.pem(), key: key.serialize_pem() }
    }

    async fn reason(chain: &str, key: &str, names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::starting_at(NOW));
        match checked(chain, key, &names, &clock) {
            Ok(_) => "used".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_used() {
        let Made { leaf, issuer, key } = made(&["mx.example.net", "b.example.net"], NOW);
        let chain = format!("{leaf}{issuer}");
        assert_eq!(reason(&chain, &key, &["mx.example.net", "b.example.net"]).await, "used");
        let other = made(&["mx.example.net"], NOW);
        for (chain, key, names, expected) in [
            (&chain, &key, &["mx.example.net", "c.example.net"][..], "not for c.example.net"),
            (&chain, &other.key, &["mx.example.net"], "does not belong"),
            (&leaf, &key, &["mx.example.net"], "issuer's certificate is missing"),
            (&format!("{leaf}{}", other.issuer), &key, &["mx.example.net"], "does not lead"),
        ] {
            let reason = reason(chain, key, names).await;
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_certificate_counts_now() {
        for (begins, expected) in
            [(NOW + AHEAD * 2, "not valid yet"), (NOW - Duration::from_secs(100 * 86_400), "expired")]
        {
            let Made { leaf, issuer, key } = made(&["mx.example.net"], begins);
            let reason = reason(&format!("{leaf}{issuer}"), &key, &["mx.example.net"]).await;
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
