//! Names that no CA of the world certifies, and CAs that are not of the world.

/// Last labels that are set aside (RFC 2606 §2, RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476, and ICANN's `internal`).
const RESERVED: [&str; 10] =
    ["test", "example", "invalid", "localhost", "local", "onion", "alt", "internal", "arpa", "home"];
/// The same of second-level domains (RFC 2606 §3).
const RESERVED_BELOW: [&str; 3] = ["example.com", "example.net", "example.org"];

/// Whether a name is set aside for tests, for documents or for the inside of networks, or has one label only. A CA of the world
/// would only count the attempt.
pub fn is_reserved(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let Some((_, last)) = name.rsplit_once('.') else { return true };
    RESERVED.contains(&last)
        || RESERVED_BELOW
            .iter()
            .any(|below| name.strip_suffix(below).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Whether the CA with this directory is one's own: it is called by an address that is not of the world, or by a name that
/// [`is_reserved`].
pub fn is_private(directory: &str) -> bool {
    let Some(host) = host(directory) else { return false };
    match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        Ok(std::net::IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) => is_reserved(host),
    }
}

/// The host of an `https` address, with the brackets of an IPv6 address.
fn host(address: &str) -> Option<&str> {
    let authority = address.strip_prefix("https://")?.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    if let Some(rest) = authority.strip_prefix('[') {
        return authority.get(..rest.find(']')? + 2);
    }
    Some(authority.split(':').next().unwrap_or(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_tests_documents_and_the_inside_are_reserved() {
        for name in [
            "mx.postern.test",
            "mx1.example.NET",
            "example.com.",
            "localhost",
            "mx",
            "a.b.local",
            "x.home.arpa",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["mx.example.de", "badexample.com", "test.org", "mx.postern.net"] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn a_ca_of_ones_own_is_called_by_an_inner_address_or_a_reserved_name() {
        for directory in [
            "https://localhost:14000/dir",
            "https://127.0.0.1:14000/dir",
            "https://[::1]:14000/dir",
            "https://[fd00::1]/",
            "https://10.1.2.3/acme",
            "https://ca.inside.internal/acme/directory",
        ] {
            assert!(is_private(directory), "{directory}");
        }
        for directory in [
            "https://acme-v02.api.letsencrypt.org/directory",
            "https://192.0.2.1/",
            "https://[2001:db8::1]:443/",
            "x",
        ] {
            assert!(!is_private(directory), "{directory}");
        }
    }
}
