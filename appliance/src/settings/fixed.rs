//! What of a config changes in its file alone, by whoever is root on the machine: where Postern keeps things, what it does with the
//! machine's network, and which files and variables it reads. The guard believes none of what the gate says of a config, and with
//! one of these a gate that was taken over could have root give away folders, open the rule set, or read what is not Postern's.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::config::Places;

/// Keys and sections at the head.
const FIXED: [&str; 2] = ["state_dir", "network"];

/// Nothing, or what is other and may not be, in words.
pub(crate) fn look(before: &str, after: &str) -> Result<(), String> {
    let read = |text: &str| text.parse::<Table>().map_err(|error| error.message().to_owned());
    let (old, new) = (read(before)?, read(after)?);
    for key in FIXED {
        if old.get(key) != new.get(key) {
            return Err(format!(
                "`{key}` changes in the file alone, with a restart: it says what Postern is to the machine"
            ));
        }
    }
    let named: BTreeSet<_> = Places::of(before)?.files.into_iter().collect();
    if let Some(file) = Places::of(after)?.files.into_iter().find(|file| !named.contains(file)) {
        return Err(format!(
            "the file `{}` is not named in the config yet: whoever put it on the machine names it in the file itself",
            file.display()
        ));
    }
    let (mut known, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    variables(&Value::Table(old), &mut known);
    variables(&Value::Table(new), &mut wanted);
    match wanted.difference(&known).next() {
        Some(name) => {
            Err(format!("the variable `{name}` is not named in the config yet: name it in the file itself"))
        }
        None => Ok(()),
    }
}

/// Of `{ env = "NAME" }`.
fn variables(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| variables(value, found)),
        Value::Table(table) => {
            found.extend(table.get("env").and_then(Value::as_str).map(str::to_owned));
            table.values().for_each(|value| variables(value, found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_trusts_a_config_with_is_not_changed_here() {
        let before = "hostname = \"mx.test\"\n[log]\nalerts_key = { file = \"/etc/k\" }\n";
        assert_eq!(look(before, &before.replace("mx", "mx2")), Ok(()));
        assert_eq!(look(before, "hostname = \"mx.test\"\n"), Ok(()));
        for more in [
            "state_dir = \"/usr/bin\"\n",
            "network = { manage_firewall = false }\n",
            "[tls]\ncertificates = [{ chain = \"c.pem\", key = \"/etc/shadow\" }]\n",
            "[outbound.relay]\npassword = { env = \"HOME\" }\n",
            "[outbound.relay]\npassword = { file = \"/etc/shadow\" }\n",
        ] {
            assert!(look(before, &format!("{more}{before}")).is_err(), "{more}");
        }
    }
}
