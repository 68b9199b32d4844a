//! `postern firewall`: the nftables rule set that the config leads to, and bans (docs/firewall.md).
//!
//! The crate `firewall` knows rules and kernel; here is only what they follow from and what is said about them.

mod rules;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use ::firewall::{Ban, FirewallError, Gateway, Mode, RuleSet, System};
use ipnet::IpNet;
use serde_json::json;

pub use rules::{RulesError, Servers, rule_set};

use crate::armed;
use crate::command::{CommandLine, Exit, FirewallAction};
use crate::config::{self, Config, duration_in_words};
use crate::output;

/// Where it is remembered how the kernel was set before. Gone with a restart, as what it describes is.
const STATE_DIR: &str = "/run/postern";

/// The network namespace of this process as the place where rule sets are applied.
pub fn system() -> System {
    // Namespaces of one machine share their files.
    let namespace = std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |namespace| namespace.ino());
    System::new(format!("{STATE_DIR}/firewall-{namespace}"))
}

/// `postern firewall`: 1 if the answer is no (the config forbids it, a network that must not be banned or is not), 2 if the config
/// is wrong, 3 without root, `nft`, or a name that a server is given by.
pub async fn firewall(line: &CommandLine, action: &FirewallAction) -> Exit {
    match perform(line, action).await {
        Ok(exit) => exit,
        Err(problem) => {
            output::diagnosis(&problem.to_string());
            problem.exit()
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    #[error("it was interrupted")]
    Interrupted,
    #[error(transparent)]
    Rules(#[from] RulesError),
}

impl Problem {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(_)
            | Self::Rules(RulesError::Invalid(_))
            | Self::Firewall(FirewallError::Invalid(_) | FirewallError::NoInterface(_)) => Exit::Wrong,
            Self::Firewall(_) | Self::Interrupted | Self::Rules(RulesError::Unknown { .. }) => {
                Exit::Unreachable
            }
        }
    }
}

async fn perform(line: &CommandLine, action: &FirewallAction) -> Result<Exit, Problem> {
    let json = line.json;
    match action {
        FirewallAction::Render => {
            let config = load(line)?;
            // Whoever may not read what is armed sees what the config alone says.
            let armed = armed::open(&config.state_dir).and_then(|file| armed::read(&file));
            let rules = configured(&config, &armed.unwrap_or_default(), Vec::new()).await?;
            render(&rules, json);
            Ok(Exit::Done)
        }
        FirewallAction::Apply { armed_on_stdin, opens } => {
            let config = load(line)?;
            let armed = armed_now(&config, *armed_on_stdin);
            let exit = apply(&config, &armed, json).await?;
            // Only now, when the rules are there and read back: until here nothing was open.
            if *opens && exit == Exit::Done {
                blocking(|system| ::firewall::open(&system)).await?;
            }
            Ok(exit)
        }
        FirewallAction::Remove => {
            blocking(|system| ::firewall::remove(&system)).await?;
            say(json, "the rule set is removed", json!({ "removed": true }));
            Ok(Exit::Done)
        }
        FirewallAction::Bans => {
            list(&blocking(|system| ::firewall::bans(&system)).await?, json);
            Ok(Exit::Done)
        }
        FirewallAction::Ban { network, time } => ban(&load(line)?, *network, *time, json).await,
        FirewallAction::Unban { network } => unban(*network, json).await,
    }
}

fn load(line: &CommandLine) -> Result<Config, Problem> {
    Ok(config::load(&line.config_file())?)
}

/// What a running Postern has found fit to be armed.
fn armed_now(config: &Config, on_stdin: bool) -> BTreeSet<SocketAddr> {
    let read = if on_stdin {
        std::io::stdin().as_fd().try_clone_to_owned().and_then(|input| armed::read(&input.into()))
    } else if armed::path(&config.state_dir).exists() {
        armed::open(&config.state_dir).and_then(|file| armed::read(&file))
    } else {
        Ok(BTreeSet::new())
    };
    read.unwrap_or_else(|error| {
        let file = armed::path(&config.state_dir);
        output::diagnosis(&format!(
            "{}: {error}. Only servers with `arm = \"now\"` are armed.",
            file.display()
        ));
        BTreeSet::new()
    })
}

/// The rule set of the config.
async fn configured(
    config: &Config,
    armed: &BTreeSet<SocketAddr>,
    protected: Vec<IpNet>,
) -> Result<RuleSet, Problem> {
    let servers = Servers::look_up(config).await?;
    Ok(rule_set(config, &servers, armed, protected)?)
}

/// Does what waits for a program, where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(System) -> Result<T, FirewallError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(|| work(system())).await;
    Ok(done.map_err(|_| Problem::Interrupted)??)
}

fn say(json: bool, text: &str, value: serde_json::Value) {
    if json { output::json(&value) } else { output::line(text) }
}

fn render(rules: &RuleSet, json: bool) {
    let text = rules.render();
    if json {
        output::json(&json!({ "nft": text }));
    } else {
        text.lines().for_each(output::line);
    }
}

async fn apply(config: &Config, armed: &BTreeSet<SocketAddr>, json: bool) -> Result<Exit, Problem> {
    if !config.network.manage_firewall {
        output::diagnosis(
            "`network.manage_firewall = false`: nothing is changed. `postern firewall render` prints what is needed: \
             rules for `nft -f -`, and in its comments routes and kernel settings",
        );
        return Ok(Exit::No);
    }
    let rules = configured(config, armed, Vec::new()).await?;
    let applied = blocking(move |system| rules.apply(&system)).await?;
    let (text, value) = match &applied.rules().settings().mode {
        Mode::Gateway(Gateway { outside, inside, targets, armed, .. }) => (
            format!(
                "the rule set is in place: gateway between {outside} and {inside}, {} addresses and ports of servers, {} \
                 of them armed",
                targets.len(),
                armed.len()
            ),
            json!({ "applied": true, "mode": "gateway", "targets": targets, "armed": armed }),
        ),
        _ => ("the rule set is in place: front".to_owned(), json!({ "applied": true, "mode": "front" })),
    };
    say(json, &text, value);
    Ok(Exit::Done)
}

fn list(bans: &[Ban], json: bool) {
    if json {
        let one = |ban: &Ban| json!({ "network": ban.network, "seconds": ban.remaining.as_secs() });
        output::json(&bans.iter().map(one).collect::<Vec<_>>());
        return;
    }
    if bans.is_empty() {
        output::line("nobody is banned");
    }
    for Ban { network, remaining } in bans {
        output::line(&format!("{:<43} {}", network.to_string(), duration_in_words(*remaining)));
    }
}

async fn ban(config: &Config, network: IpNet, time: Duration, json: bool) -> Result<Exit, Problem> {
    let inside = (config.network.mode != config::Mode::Front).then(|| config.network.inside.clone());
    let own = blocking(move |system| system.own_networks(inside.as_deref())).await?;
    if let Err(why_not) = configured(config, &BTreeSet::new(), own).await?.may_ban(network) {
        output::diagnosis(&format!("{network} is not banned: {why_not}"));
        return Ok(Exit::No);
    }
    let new = Ban { network, remaining: time };
    blocking(move |system| ::firewall::ban(&system, &[new])).await?;
    let text = format!("{network} is banned for {}", duration_in_words(time));
    say(json, &text, json!({ "banned": network, "seconds": time.as_secs() }));
    Ok(Exit::Done)
}

async fn unban(network: IpNet, json: bool) -> Result<Exit, Problem> {
    let ended = blocking(move |system| ::firewall::unban(&system, &[network])).await?;
    if ended == 0 {
        output::diagnosis(&format!(
            "neither {network} nor a part of it is banned; `postern firewall bans` lists who is"
        ));
        return Ok(Exit::No);
    }
    say(json, &format!("{ended} ended: {network}"), json!({ "unbanned": network, "ended": ended }));
    Ok(Exit::Done)
}
