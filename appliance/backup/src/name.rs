//! What a member of the archive may be called.

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// As much as tar's plainest header holds of a name, with a margin for where it may be split.
const MAX_NAME: usize = 150;
/// Of one step of the path.
const MAX_STEP: usize = 99;
/// Deeper than the spool and all that is planned.
pub(crate) const MAX_DEPTH: usize = 8;

/// Which part of the backup a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The config file.
    Config,
    /// What the config names in its own folder.
    Beside,
    /// What the config names elsewhere, by number.
    Elsewhere,
    /// What is in the state folder.
    State,
}

impl Part {
    const ALL: [Self; 4] = [Self::Config, Self::Beside, Self::Elsewhere, Self::State];

    /// The first step of its members' names.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Beside => "beside",
            Self::Elsewhere => "elsewhere",
            Self::State => "state",
        }
    }
}

/// A member's name: a part, and a relative path without anything that leads out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The part.
    pub part: Part,
    path: String,
}

impl Name {
    /// `None`: it cannot be a member's name.
    pub fn new(part: Part, path: &Path) -> Option<Self> {
        let path = path.to_str()?;
        is_sound(part, path).then(|| Self { part, path: path.to_owned() })
    }

    /// As an archive has it.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (part, path) = std::str::from_utf8(octets).ok()?.split_once('/')?;
        let part = Part::ALL.into_iter().find(|known| known.folder() == part)?;
        is_sound(part, path).then(|| Self { part, path: path.to_owned() })
    }

    /// Below the part's folder.
    pub fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// Below the archive's top.
    pub fn whole(&self) -> PathBuf {
        Path::new(self.part.folder()).join(&self.path)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part.folder(), self.path)
    }
}

fn is_sound(part: Part, path: &str) -> bool {
    let steps = || path.split('/');
    part.folder().len() + 1 + path.len() <= MAX_NAME
        && steps().count() <= MAX_DEPTH
        && steps().all(|step| !["", ".", ".."].contains(&step) && step.len() <= MAX_STEP)
        && !path.chars().any(char::is_control)
        // What `Path` makes of it is the same again.
        && Path::new(path).components().all(|step| matches!(step, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stay_inside_are_names() {
        for good in [
            "state/spool/log/0000000000000001.log",
            "config/postern.toml",
            "beside/mx key.pem",
            "elsewhere/0",
        ] {
            assert_eq!(Name::parse(good.as_bytes()).unwrap().to_string(), good);
        }
        for bad in [
            "state",
            "state/",
            "state//x",
            "/state/x",
            "state/../x",
            "state/./x",
            "state/x/",
            "other/x",
            "..",
            "",
            "state/a\nb",
            "state/a\0b",
            "state/x/..",
            "../state/x",
            "state/a/b/c/d/e/f/g/h/i",
        ] {
            assert_eq!(Name::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Name::parse(b"state/\xff"), None);
        assert_eq!(Name::parse(format!("state/{}", "x".repeat(100)).as_bytes()), None);
        assert_eq!(Name::new(Part::State, Path::new("/etc/passwd")), None);
    }
}
