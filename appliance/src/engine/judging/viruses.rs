//! What the virus scanner says of a message, as a check.

use evidence::EvidenceError;
use evidence::clamd::{Address, Octets, Scanned, Scanner};
use judge::{Check, Verdict};
use relay::HeldBody;
use tokio::time::Instant;

use crate::config::Clamd;

/// What clamd finds by rules of thumb and not by a signature: a person has a look.
const BY_HEURISTICS: [&str; 2] = ["Heuristics.", "PUA."];

/// The scanner of a config.
pub(super) struct Viruses(Scanner);

/// The scanner that a config names.
pub(crate) fn scanner(clamd: &Clamd) -> Scanner {
    Scanner::new(match clamd {
        Clamd::Unix(path) => Address::Unix(path.clone()),
        Clamd::Tcp(server) => Address::Tcp(server.host.to_string().into(), server.port),
    })
}

impl Viruses {
    pub(super) fn new(clamd: &Clamd) -> Self {
        Self(scanner(clamd))
    }

    /// Has the whole message looked at, large or not, in or out.
    pub(super) async fn look(&self, body: &HeldBody, deadline: Instant) -> Result<Check, EvidenceError> {
        let file = body.file.clone().filter(|_| body.stored > 0).map(|file| (file, body.stored));
        let octets = Octets::new(file, body.tail.clone());
        self.0.scan(octets, deadline).await.map(check)
    }
}

fn check(scanned: Scanned) -> Check {
    match scanned {
        Scanned::Clean { whole: true } => Check::weighing("virus", "none", 0.0),
        Scanned::Clean { whole: false } => Check::weighing("virus", "none in what was looked at", 0.0),
        Scanned::Found(name) => {
            let by_heuristics = BY_HEURISTICS.iter().any(|family| name.starts_with(family));
            let demand = if by_heuristics { Verdict::Quarantine } else { Verdict::Reject };
            Check::demanding("virus", String::from(name), demand)
        }
    }
}

/// Whether it is known by its signature: such mail teaches.
pub(super) fn is_certain(check: &Check) -> bool {
    check.name == "virus" && check.demand == Some(Verdict::Reject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_refuses_and_a_rule_of_thumb_holds() {
        for (name, demand) in [
            ("Win.Test.EICAR_HDB-1", Verdict::Reject),
            ("Heuristics.Encrypted.Zip", Verdict::Quarantine),
            ("PUA.Win.Packer.X", Verdict::Quarantine),
        ] {
            let check = check(Scanned::Found(name.into()));
            assert_eq!((check.demand, &*check.result), (Some(demand), name));
            assert_eq!(is_certain(&check), demand == Verdict::Reject);
        }
        assert_eq!(check(Scanned::Clean { whole: true }).demand, None);
    }
}
