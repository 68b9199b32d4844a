//! What a test needs of the machine, and what happens when that is missing: it is skipped loudly, or fails where nothing
//! may be skipped.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Something a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Postfix and Exim change users, OpenSMTPD mounts: all of them as root only.
    Root,
    /// A program in the search path or the system's own folders.
    Program(&'static str),
    /// A file in the tests' cache, put there by `tests/packages`.
    Cached(&'static str),
}

/// A whole Postfix.
pub const POSTFIX: &[Need] = &[Need::Root, Need::Program("postfix")];
/// A Postfix with AUTH.
pub const DOVECOT: &[Need] = &[Need::Root, Need::Program("dovecot")];
/// A directory.
pub const SLAPD: &[Need] = &[Need::Root, Need::Program("slapd"), Need::Program("slapadd")];
/// A browser, and what checks pages in it.
pub const CHROMIUM: &[Need] = &[
    Need::Program("chromium"),
    Need::Program("python3"),
    Need::Cached("node/axe-core/node_modules/axe-core/axe.min.js"),
];
/// An Exim beside the installed Postfix.
pub const EXIM: &[Need] = &[Need::Root, Need::Program("unshare"), Need::Cached("peers/exim/usr/sbin/exim4")];
/// An OpenSMTPD beside the installed Postfix.
pub const OPENSMTPD: &[Need] =
    &[Need::Root, Need::Program("unshare"), Need::Cached("peers/opensmtpd/usr/sbin/smtpd")];

/// Leaves the test, with a line on standard error, unless all these lists of [`Need`]s are met.
#[macro_export]
macro_rules! needs {
    ($($list:expr),+ $(,)?) => {
        for list in [$($list),+] {
            if let Err(missing) = $crate::needs::check(list) {
                $crate::needs::skip(&missing);
                return;
            }
        }
    };
}

/// Whether all of it is there.
///
/// # Errors
///
/// What is missing, in words.
pub fn check(needs: &[Need]) -> Result<(), String> {
    for need in needs {
        match need {
            Need::Root if !nix::unistd::geteuid().is_root() => return Err("not root".to_owned()),
            Need::Program(name) if program(name).is_none() => {
                return Err(format!("no {name}: run tests/packages"));
            }
            Need::Cached(path) if !cache().join(path).exists() => {
                return Err(format!("no {}: run tests/packages", cache().join(path).display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Says that the test is skipped, and adds it to the list that `tests/run` counts (`POSTERN_SKIPS`).
///
/// # Panics
///
/// Where nothing may be skipped (`POSTERN_NO_SKIP`).
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let line = format!("SKIP: {}: {why}", thread.name().unwrap_or("a test"));
    assert!(std::env::var_os("POSTERN_NO_SKIP").is_none(), "{line} (and POSTERN_NO_SKIP is set)");
    eprintln!("{line}");
    if let Some(list) = std::env::var_os("POSTERN_SKIPS")
        && let Ok(mut list) = OpenOptions::new().create(true).append(true).open(list)
    {
        // One write, so that lines of several processes do not mix.
        let _ = list.write_all(format!("{line}\n").as_bytes());
    }
}

/// Where a program lies.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The folder that `tests/packages` fills: `POSTERN_CACHE`, else one in the user's cache.
pub fn cache() -> PathBuf {
    std::env::var_os("POSTERN_CACHE").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/postern-tests"),
        PathBuf::from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(check(&[Need::Program("sh")]), Ok(()));
        assert!(check(&[Need::Program("no-such-program")]).unwrap_err().contains("no-such-program"));
        assert!(check(&[Need::Cached("no/such/file")]).unwrap_err().contains("no/such/file"));
    }
}
