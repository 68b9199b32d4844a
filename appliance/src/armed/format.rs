//! What the file says, octet for octet: a head, a server in each line, and an end that counts them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Its first line.
const HEAD: &str = "postern armed 1";

pub(super) fn text(armed: &BTreeSet<SocketAddr>) -> String {
    let mut text = format!("{HEAD}\n");
    for server in armed {
        text.push_str(&format!("{server}\n"));
    }
    text.push_str(&format!("end {}\n", armed.len()));
    text
}

/// `None`: it is not what [`text`] makes, octet for octet.
pub(super) fn parse(octets: &[u8]) -> Option<BTreeSet<SocketAddr>> {
    let read = std::str::from_utf8(octets).ok()?;
    let lines = read.lines().skip(1).take_while(|line| !line.starts_with("end "));
    let armed = lines.map(|line| line.parse().ok()).collect::<Option<BTreeSet<_>>>()?;
    (text(&armed) == read).then_some(armed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> BTreeSet<SocketAddr> {
        ["198.51.100.25:25", "198.51.100.25:587", "[2001:db8::25]:25"]
            .map(|text| text.parse().unwrap())
            .into()
    }

    #[test]
    fn a_torn_file_arms_nothing() {
        let whole = text(&servers());
        assert_eq!(parse(whole.as_bytes()), Some(servers()));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..length]), None, "{length}");
        }
        for wrong in [whole.replace("end 3", "end 2"), whole.replace(":587", ":0587"), format!("{whole}\n")] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
