//! The kernel settings that diverting and forwarding need.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::FirewallError;

/// A kernel setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysctl {
    /// Its path below `/proc/sys`. With slashes, because interface names may have dots.
    pub(crate) path: String,
    /// What it has to be.
    pub(crate) value: &'static str,
    /// Only if it has this value now.
    pub(crate) where_it_is: Option<&'static str>,
    /// Another setting that the kernel changes together with this one, in both directions.
    pub(crate) drags: Option<&'static str>,
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/proc/sys/{} = {}", self.path, self.value)?;
        self.where_it_is.map_or(Ok(()), |value| write!(f, " where it is {value}"))
    }
}

/// What is needed, in the order in which it is set; undone in the reverse order. `interfaces` are outside and inside of a gateway.
pub(crate) fn needed(interfaces: Option<(&str, &str)>) -> Vec<Sysctl> {
    let always = |path: &str, value| Sysctl { path: path.to_owned(), value, where_it_is: None, drags: None };
    let mut needed = vec![
        // ICMP may be filtered on somebody else's way (RFC 4821).
        always("net/ipv4/tcp_mtu_probing", "1"),
        // Otherwise answers would have the mark of what they answer, and be routed back to the appliance.
        always("net/ipv4/tcp_fwmark_accept", "0"),
        always("net/ipv4/fwmark_reflect", "0"),
        always("net/ipv6/fwmark_reflect", "0"),
        // Otherwise the check of a diverted packet's source would follow the mark, find a local route, and call it a martian.
        always("net/ipv4/conf/all/src_valid_mark", "0"),
    ];
    let Some((outside, inside)) = interfaces else { return needed };
    for interface in [outside, inside] {
        needed.push(always(&format!("net/ipv4/conf/{interface}/src_valid_mark"), "0"));
        // Loose: the way back may lead over another interface.
        needed.push(always(&format!("net/ipv4/conf/{interface}/rp_filter"), "2"));
    }
    // A router takes no router advertisements unless it is told to, and would lose its own default route.
    let advertisements = format!("net/ipv6/conf/{outside}/accept_ra");
    needed.push(Sysctl { path: advertisements, value: "2", where_it_is: Some("1"), drags: None });
    let drags = Some("net/ipv4/conf/all/accept_redirects");
    needed.push(Sysctl { drags, ..always("net/ipv4/ip_forward", "1") });
    needed.push(always("net/ipv6/conf/all/forwarding", "1"));
    needed
}

/// Whether this setting lets packets through. These are set when the rules are there, and go before the rules do.
pub(crate) fn opens_the_way(path: &str) -> bool {
    path == "net/ipv4/ip_forward" || path == "net/ipv6/conf/all/forwarding"
}

/// Whether this could be one of ours: what a file says is not believed beyond that.
pub(crate) fn is_plausible(path: &str, value: &str) -> bool {
    let ours = path.starts_with("net/ipv4/") || path.starts_with("net/ipv6/");
    let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    let number = value.strip_prefix('-').unwrap_or(value);
    ours && plain && !number.is_empty() && number.len() <= 10 && number.bytes().all(|b| b.is_ascii_digit())
}

/// Its value now; `None` if the kernel has no such setting.
pub(crate) fn read(path: &str) -> Result<Option<String>, FirewallError> {
    let file = file(path);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FirewallError::State { path: file, source }),
    }
}

pub(crate) fn write(path: &str, value: &str) -> Result<(), FirewallError> {
    let file = file(path);
    fs::write(&file, value).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            FirewallError::NotPermitted { said: format!("{}: {source}", file.display()) }
        }
        _ => FirewallError::State { path: file, source },
    })
}

/// Whether there is an interface of this name in this network namespace.
pub(crate) fn has_interface(name: &str) -> bool {
    file(&format!("net/ipv4/conf/{name}")).is_dir()
}

/// Whether the kernel has IPv6, and it is not switched off on the loopback interface.
pub(crate) fn has_ipv6() -> bool {
    read("net/ipv6/conf/lo/disable_ipv6").is_ok_and(|value| value.as_deref() == Some("0"))
}

fn file(path: &str) -> PathBuf {
    Path::new("/proc/sys").join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_for_network_settings_are_believed() {
        for (path, value) in [("net/ipv4/ip_forward", "0"), ("net/ipv6/conf/eth0.7/accept_ra", "-1")] {
            assert!(is_plausible(path, value), "{path} {value}");
        }
        for (path, value) in [
            ("kernel/core_pattern", "1"),
            ("net/ipv4/../../kernel/sysrq", "1"),
            ("net/ipv4//x", "1"),
            ("net/ipv4/ip_forward", "|/bin/sh"),
            ("net/ipv4/ip_forward", ""),
        ] {
            assert!(!is_plausible(path, value), "{path} {value}");
        }
    }

    #[test]
    fn what_is_set_is_what_may_be_put_back() {
        for sysctl in needed(Some(("eth0.7", "eth1"))) {
            assert!(is_plausible(&sysctl.path, sysctl.value), "{sysctl}");
        }
    }
}
