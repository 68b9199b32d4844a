//! What is looked up in a list, and under which name (RFC 5782 §2.1, §2.4, §3).

use std::net::IpAddr;

use smtp::Domain;

/// What is looked up in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A client's address.
    Address(IpAddr),
    /// A domain.
    Domain(Domain),
}

impl Entry {
    /// Its name in the list; `None` where that is longer than a name can be.
    pub fn name_in(&self, zone: &Domain) -> Option<Domain> {
        let labels = match self {
            Self::Address(address) => match address.to_canonical() {
                IpAddr::V4(v4) => {
                    let [a, b, c, d] = v4.octets();
                    format!("{d}.{c}.{b}.{a}")
                }
                IpAddr::V6(v6) => nibbles(v6.octets()),
            },
            Self::Domain(domain) => domain.to_string(),
        };
        format!("{labels}.{zone}").parse().ok()
    }
}

fn nibbles(octets: [u8; 16]) -> String {
    let nibbles: Vec<String> = octets
        .iter()
        .rev()
        .flat_map(|octet| [octet & 15, octet >> 4])
        .map(|one| format!("{one:x}"))
        .collect();
    nibbles.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_rfc() {
        let zone: Domain = "bad.example".parse().unwrap();
        let named = |entry: Entry| entry.name_in(&zone).map(|name| name.to_string());
        let address = |text: &str| Entry::Address(text.parse().unwrap());
        assert_eq!(named(address("192.0.2.99")).unwrap(), "99.2.0.192.bad.example");
        assert_eq!(named(address("::ffff:192.0.2.99")).unwrap(), "99.2.0.192.bad.example");
        assert_eq!(
            named(address("2001:db8:1:2:3:4:567:89ab")).unwrap(),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example"
        );
        assert_eq!(
            named(Entry::Domain("shop.example".parse().unwrap())).unwrap(),
            "shop.example.bad.example"
        );
        let long = ["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(55)].join(".");
        assert_eq!(named(Entry::Domain(long.parse().unwrap())), None);
    }
}
