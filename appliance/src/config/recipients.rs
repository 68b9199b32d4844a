//! `backend.recipients`: where a backend's recipients are known from, in its three shapes.

use serde::Deserialize;
use toml::Spanned;

use super::document::explain;
use super::network::ServerAddress;
use super::raw::Any;
use super::resolved::{Directory, Recipients};
use super::resolver::Reading;

/// Attributes that hold mail addresses, in OpenLDAP's schemas and in Active Directory's.
const ATTRIBUTES: [&str; 2] = ["mail", "proxyAddresses"];
const EXPECTED: &str =
    "`\"ask\"`, `{ file = \"path\" }` or `{ ldap = { url = \"ldaps://host\", base = \"...\" } }`";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirectory {
    url: String,
    base: String,
    filter: Option<String>,
    attributes: Option<Vec<String>>,
    bind: Option<String>,
    password: Option<toml::Value>,
    starttls: Option<bool>,
    ca_file: Option<String>,
}

pub(super) fn recipients(value: &Any, reading: &mut Reading<'_, '_>) -> Recipients {
    let Some(value) = value else { return Recipients::Ask };
    let chosen = match value.get_ref() {
        toml::Value::String(word) if word == "ask" => return Recipients::Ask,
        toml::Value::Table(table) if table.len() == 1 => table.iter().next(),
        _ => None,
    };
    match chosen.map(|(key, value)| (key.as_str(), value)) {
        Some(("file", toml::Value::String(name))) => {
            let file = Some(Spanned::new(value.span(), name.clone()));
            reading.readable_file(&file).map_or(Recipients::Ask, Recipients::File)
        }
        Some(("ldap", table @ toml::Value::Table(_))) => match table.clone().try_into() {
            Ok(raw) => directory(raw, value, reading)
                .map_or(Recipients::Ask, |directory| Recipients::Ldap(Box::new(directory))),
            Err(error) => {
                explain(reading.problems, &value.span(), error.message());
                Recipients::Ask
            }
        },
        _ => {
            reading.problems.add(&value.span(), "is none of the three", EXPECTED);
            Recipients::Ask
        }
    }
}

fn directory(
    raw: RawDirectory,
    at: &Spanned<toml::Value>,
    reading: &mut Reading<'_, '_>,
) -> Option<Directory> {
    let place = at.span();
    let mut wrong = |what: String, expected: &str| reading.problems.add(&place, what, expected);
    if !is_url(&raw.url) {
        wrong(
            format!("url cannot be `{}`", raw.url.escape_debug()),
            "`ldap://host[:port]` or `ldaps://host[:port]`",
        );
        return None;
    }
    if raw.filter.is_some() && raw.attributes.is_some() {
        wrong("filter and attributes exclude each other".into(), "one of them");
        return None;
    }
    let filter = raw.filter.unwrap_or_else(|| filter_of(raw.attributes.as_deref()));
    let tried = filter.replace("{address}", "a@b").replace("{local}", "a").replace("{domain}", "b");
    if ldap3::parse_filter(&tried).is_err() || tried == filter {
        let what = format!("filter cannot be `{}`", filter.escape_debug());
        wrong(what, "an LDAP filter (RFC 4515) with `{address}`, `{local}` or `{domain}` in it");
        return None;
    }
    let spanned = |text: String| Some(Spanned::new(place.clone(), text));
    let password = reading.secret(&raw.password.map(|password| Spanned::new(place.clone(), password)));
    let bind = match (raw.bind.filter(|bind| !bind.is_empty()), password) {
        (Some(bind), Some(password)) => Some((bind, password)),
        (None, None) => None,
        _ => {
            reading.problems.add(&place, "has only one of bind and password", "both, or neither");
            return None;
        }
    };
    let encrypted = raw.url.starts_with("ldaps://");
    Some(Directory {
        starttls: raw.starttls.unwrap_or(true) && !encrypted,
        url: raw.url,
        base: raw.base,
        filter,
        bind,
        ca_file: reading.readable_file(&raw.ca_file.and_then(spanned)),
    })
}

fn is_url(url: &str) -> bool {
    let host = url.strip_prefix("ldap://").or_else(|| url.strip_prefix("ldaps://"));
    host.is_some_and(|host| ServerAddress::new(host.trim_end_matches('/'), 389).is_some())
}

/// Whoever has the address in one of these attributes. Active Directory writes `smtp:` before each of `proxyAddresses`.
fn filter_of(attributes: Option<&[String]>) -> String {
    let given = attributes.map(|given| given.iter().map(String::as_str).collect());
    let attributes: Vec<&str> = given.unwrap_or_else(|| ATTRIBUTES.to_vec());
    let one = |name: &&str| match name.eq_ignore_ascii_case("proxyAddresses") {
        true => format!("({name}=smtp:{{address}})"),
        false => format!("({name}={{address}})"),
    };
    format!("(|{})", attributes.iter().map(one).collect::<String>())
}
