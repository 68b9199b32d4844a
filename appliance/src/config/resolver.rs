//! Reads single values of every kind, notes what is wrong with each, and goes on with a stand-in, so that one wrong
//! value does not hide the next.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use smtp::Domain;
use toml::Spanned;

use super::network::{ServerAddress, domain_name};
use super::problem::Problems;
use super::raw::{Any, Number, Text, Texts};
use super::secret::Secret;
use super::units::{self, A_DURATION, A_SIZE};

/// A secret is one line; a file that is larger is the wrong one.
const MAX_SECRET: u64 = 64 << 10;

pub(super) struct Reading<'p, 'a> {
    pub(super) problems: &'p mut Problems<'a>,
}

impl Reading<'_, '_> {
    /// The value of a key that may be left out or empty, turned by `read` into what `expected` describes.
    pub(super) fn one<T>(
        &mut self,
        text: &Text,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = text.as_ref().filter(|text| !text.get_ref().is_empty())?;
        self.value(text, expected, read)
    }

    /// The values of a list; those that are wrong are left out.
    pub(super) fn each<T>(
        &mut self,
        texts: &Texts,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        texts.iter().flatten().filter_map(|text| self.value(text, expected, &read)).collect()
    }

    pub(super) fn value<T>(
        &mut self,
        text: &Spanned<String>,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = read(text.get_ref());
        if value.is_none() {
            self.problems.add(
                &text.span(),
                format!("cannot be `{}`", text.get_ref().escape_debug()),
                expected,
            );
        }
        value
    }

    pub(super) fn duration(&mut self, text: &Text, default: Duration) -> Duration {
        let value = text.as_ref().map(|text| self.value(text, A_DURATION, units::duration));
        value.flatten().unwrap_or(default)
    }

    pub(super) fn size(&mut self, text: &Text, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(text) = text else { return default };
        let Some(size) = self.value(text, A_SIZE, units::size) else { return default };
        if range.contains(&size) {
            return size;
        }
        let words = units::size_in_words;
        let expected = format!("a size from {} to {}", words(*range.start()), words(*range.end()));
        self.problems.add(&text.span(), format!("cannot be `{}`", text.get_ref()), expected);
        default
    }

    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        number: &Number,
        default: T,
        range: RangeInclusive<i64>,
    ) -> T {
        let Some(number) = number else { return default };
        let value =
            Some(*number.get_ref()).filter(|value| range.contains(value)).and_then(|n| T::try_from(n).ok());
        value.unwrap_or_else(|| {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            self.problems.add(&number.span(), format!("cannot be {}", number.get_ref()), expected);
            default
        })
    }

    pub(super) fn socket_address(&mut self, text: &Text) -> Option<SocketAddr> {
        self.one(text, "an address and a port, such as `127.0.0.1:25` or `[::]:25`", |text| text.parse().ok())
    }

    pub(super) fn addresses(&mut self, texts: &Texts) -> Vec<IpAddr> {
        self.each(texts, "an IP address", |text| text.parse().ok())
    }

    pub(super) fn networks(&mut self, texts: &Texts) -> Vec<IpNet> {
        self.each(texts, "a network such as `10.0.0.0/8` or an IP address", network)
    }

    pub(super) fn ports(&mut self, texts: &Texts) -> Vec<firewall::Port> {
        self.each(texts, "a port such as `tcp/443` or `udp/443`", |text| text.parse().ok())
    }

    pub(super) fn domain(&mut self, text: &Text) -> Option<Domain> {
        self.one(text, "a domain name", domain_name)
    }

    pub(super) fn domains(&mut self, texts: &Texts) -> Vec<Domain> {
        self.each(texts, "a domain name", domain_name)
    }

    pub(super) fn server(&mut self, text: &Text, port: u16) -> Option<ServerAddress> {
        self.one(text, A_SERVER, |text| ServerAddress::new(text, port))
    }

    pub(super) fn servers(&mut self, texts: &Texts, port: u16) -> Vec<ServerAddress> {
        self.each(texts, A_SERVER, |text| ServerAddress::new(text, port))
    }

    pub(super) fn mail_address(&mut self, text: &Text) -> Option<String> {
        self.one(text, "a mail address", mail_address)
    }

    /// A file that exists and can be opened; a relative path starts at the config's folder.
    pub(super) fn readable_file(&mut self, text: &Text) -> Option<PathBuf> {
        let text = text.as_ref().filter(|text| !text.get_ref().is_empty())?;
        self.open(text.get_ref(), &text.span()).map(|(path, _)| path)
    }

    fn open(&mut self, name: &str, place: &Range<usize>) -> Option<(PathBuf, std::fs::File)> {
        let path = self.problems.folder().join(name);
        let opened = std::fs::File::open(&path).and_then(|file| match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(std::io::Error::other("not a file")),
        });
        match opened {
            Ok(file) => Some((path, file)),
            Err(error) => {
                let wrong = format!("cannot read {}: {error}", path.display());
                self.problems.add(place, wrong, "a readable file");
                None
            }
        }
    }

    /// A secret: in a file, in the environment, or in the config itself.
    pub(super) fn secret(&mut self, value: &Any) -> Option<Secret> {
        const EXPECTED: &str = "`{ file = \"path\" }`, `{ env = \"NAME\" }` or a string";
        let value = value.as_ref()?;
        let place = value.span();
        let table = match value.get_ref() {
            toml::Value::String(text) => {
                return Some(text).filter(|text| !text.is_empty()).map(|t| Secret::new(t));
            }
            toml::Value::Table(table) if table.is_empty() => return None,
            toml::Value::Table(table) if table.len() == 1 => table,
            _ => {
                self.problems.add(&place, "is no secret", EXPECTED);
                return None;
            }
        };
        match (table.get("file"), table.get("env")) {
            (Some(toml::Value::String(name)), _) if name.is_empty() => None,
            (Some(toml::Value::String(name)), _) => self.secret_file(name, &place),
            (_, Some(toml::Value::String(name))) => self.secret_variable(name, &place),
            _ => {
                self.problems.add(&place, "is no secret", EXPECTED);
                None
            }
        }
    }

    /// Says so, if a secret is not base64 of anything.
    pub(super) fn base64(&mut self, secret: &Secret, place: &Range<usize>) {
        if secret.decoded().is_none() {
            self.problems.add(place, "is not base64", "the key as whoever gave it wrote it, in base64");
        }
    }

    fn secret_file(&mut self, name: &str, place: &Range<usize>) -> Option<Secret> {
        use std::io::Read as _;

        let (path, file) = self.open(name, place)?;
        let mut text = String::new();
        let read = file.take(MAX_SECRET + 1).read_to_string(&mut text);
        if read.is_err() || text.len() as u64 > MAX_SECRET || text.trim_end().is_empty() {
            let wrong = format!("{} holds no secret", path.display());
            self.problems.add(place, wrong, "a file with one line of text");
            return None;
        }
        Some(Secret::new(text.trim_end_matches(['\r', '\n'])))
    }

    fn secret_variable(&mut self, name: &str, place: &Range<usize>) -> Option<Secret> {
        let found = std::env::var(name).ok().filter(|text| !text.is_empty());
        if found.is_none() {
            let wrong = format!("the environment has no variable `{}`", name.escape_debug());
            self.problems.add(place, wrong, "the name of an environment variable that holds the secret");
        }
        found.map(|text| Secret::new(&text))
    }
}

const A_SERVER: &str = "a server such as `10.0.0.10`, `10.0.0.10:25`, `mail.inside:25` or `[2001:db8::1]:25`";

/// Whether it looks like `local@domain`; whether it exists only its server knows.
pub(super) fn mail_address(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let plain =
        !local.is_empty() && local.len() <= 64 && local.chars().all(|c| c.is_ascii_graphic() && c != '@');
    (plain && domain_name(domain).is_some()).then(|| text.to_owned())
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().map(|net| net.trunc()).or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}
