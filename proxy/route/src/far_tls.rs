//! How the policy for one server of the world is carried out.

use std::sync::Arc;

use record::{FarProof, TlsFailure};
use tls::{Chain, Connector, Ladder, LegPolicy, Roots, TlsError};

use crate::far::{Demanded, FarPolicy, Reported};

/// The connectors that all servers of the world share.
#[derive(Clone, Debug)]
pub(crate) struct Connectors {
    roots: Roots,
    /// By what they must prove; sessions that were resumed under one policy do not pass for another's.
    by_ladder: Vec<(Ladder, Connector)>,
}

const LADDERS: [Ladder; 4] = [Ladder::Off, Ladder::Opportunistic, Ladder::Encrypt, Ladder::Verify];

impl Connectors {
    pub(crate) fn new(
        settings: &tls::Settings,
        roots: &Roots,
        clock: &Arc<dyn record::Clock>,
    ) -> Result<Self, TlsError> {
        let mut by_ladder = Vec::new();
        for ladder in LADDERS {
            // Without roots nothing can be verified: the policy that demands it then has no connector, and no server.
            if ladder == Ladder::Verify && roots.is_empty() {
                continue;
            }
            let policy = LegPolicy { ladder, roots: roots.clone(), ..LegPolicy::default() };
            by_ladder.push((ladder, Connector::new(settings, &policy, Arc::clone(clock))?));
        }
        Ok(Self { roots: roots.clone(), by_ladder })
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// One that demands this step.
    ///
    /// # Errors
    ///
    /// There are no roots.
    pub(crate) fn of(&self, ladder: Ladder) -> Result<&Connector, TlsError> {
        self.by_ladder
            .iter()
            .find(|(known, _)| *known == ladder)
            .map(|(_, connector)| connector)
            .ok_or(TlsError::NoRoots)
    }
}

/// What is demanded of a server, and by what it is carried out.
#[derive(Debug)]
pub struct FarTls {
    demanded: Demanded,
    policy: LegPolicy,
    connector: Connector,
    /// For mail that goes whatever domains demand (RFC 8689 §5).
    regardless: (LegPolicy, Connector),
    /// Examines certificates.
    examiner: (Roots, Connector),
}

impl FarTls {
    /// For a server. Where nobody is trusted who could verify it, nothing goes there.
    pub(crate) fn new(demanded: Demanded, connectors: &Connectors) -> Result<Self, TlsError> {
        let examiner = (connectors.roots().clone(), connectors.of(Ladder::Encrypt)?.clone());
        // Nothing satisfies that.
        let nobody = || {
            let leg = LegPolicy { ladder: Ladder::Verify, ..LegPolicy::default() };
            (leg, examiner.1.clone())
        };
        let regardless = carry_out(&demanded.configured, connectors).unwrap_or_else(|_| nobody());
        let (demanded, policy, connector) = match carry_out(&demanded.policy, connectors) {
            Ok((policy, connector)) => (demanded, policy, connector),
            Err(error) => {
                let why = error.to_string().into();
                let policy = FarPolicy::Never { failure: TlsFailure::CertificateNotTrusted, why };
                let (leg, connector) = nobody();
                (Demanded { policy, ..demanded }, leg, connector)
            }
        };
        Ok(Self { demanded, policy, connector, regardless, examiner })
    }

    /// What is demanded, and on whose word.
    pub fn demanded(&self) -> &Demanded {
        &self.demanded
    }

    /// The same for a leg.
    pub fn policy(&self) -> &LegPolicy {
        &self.policy
    }

    /// The connector that carries it out.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// What is left of it for mail that goes whatever domains demand: what is configured.
    pub fn regardless(&self) -> (&LegPolicy, &Connector) {
        (&self.regardless.0, &self.regardless.1)
    }

    /// Whether it is the domain's word that holds, so that a message for which that does not count could go there.
    pub fn is_domains_word(&self) -> bool {
        self.demanded.policy != self.demanded.configured
    }

    /// How far a proof that a leg came to goes, with what vouches for the name that was proved.
    pub fn proof(&self, proof: FarProof) -> FarProof {
        match (&self.demanded.policy, proof) {
            (FarPolicy::Sts { .. }, FarProof::Verified) => FarProof::MtaSts,
            (_, proof) => proof,
        }
    }

    /// Whether a leg with this proof is as good as REQUIRETLS wants it (RFC 8689 §4.2.1).
    pub fn is_proved(&self, proof: FarProof) -> bool {
        match proof {
            FarProof::Dane | FarProof::MtaSts | FarProof::Pinned => true,
            FarProof::Verified => self.demanded.is_vouched_for,
            FarProof::Unverified => false,
        }
    }

    /// Whether the certificates satisfy a policy that is reported although another one decides.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn examine(&self, reported: &Reported, chain: &Chain) -> Result<(), TlsError> {
        let Some(host) = &reported.host else { return Ok(()) };
        let (roots, connector) = &self.examiner;
        let policy = LegPolicy { ladder: Ladder::Verify, roots: roots.clone(), ..LegPolicy::default() };
        connector.examine(chain, &policy, host.as_str()).map(drop)
    }
}

fn carry_out(policy: &FarPolicy, connectors: &Connectors) -> Result<(LegPolicy, Connector), TlsError> {
    let ladder = policy.ladder();
    let leg = LegPolicy { ladder, roots: connectors.roots().clone(), ..LegPolicy::default() };
    match policy {
        FarPolicy::Off | FarPolicy::Opportunistic | FarPolicy::Encrypt => {
            Ok((leg, connectors.of(ladder)?.clone()))
        }
        FarPolicy::Never { .. } => {
            Ok((LegPolicy { roots: Roots::none(), ..leg }, connectors.of(Ladder::Encrypt)?.clone()))
        }
        FarPolicy::Verify { names } => {
            let connector = connectors.of(ladder)?;
            match names.get(1) {
                None => Ok((leg, connector.clone())),
                Some(also) => {
                    let connector = connector.also(also.as_str());
                    Ok((LegPolicy { also: Some(also.as_str().to_owned()), ..leg }, connector))
                }
            }
        }
        FarPolicy::Dane { base, dane } => {
            let name = Some(base.as_str().to_owned());
            let leg = LegPolicy { name, dane: Some(Arc::clone(dane)), ..leg };
            let connector = connectors.of(Ladder::Encrypt)?.under(&leg)?;
            Ok((leg, connector))
        }
        FarPolicy::Sts { host } => {
            let leg = LegPolicy { name: Some(host.as_str().to_owned()), ..leg };
            let connector = connectors.of(ladder)?.under(&leg)?;
            Ok((leg, connector))
        }
    }
}
