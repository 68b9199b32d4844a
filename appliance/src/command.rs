//! The command line, and what each command's answer means to a shell.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use judge::Verdict;
use judge::evaluation::regime::Feedback;

use crate::config::parse_duration;
use crate::roles::Account;

mod access;
mod config;
mod domains;
mod held;
mod published;

pub use access::{AuditList, TokensAction, UserWithRole, UsersAction};
pub use config::ConfigAction;
pub use domains::DomainsAction;
pub use held::{BlockAction, QuarantineAction, QuarantineList, ReportsAction, SendersAction};
pub use published::{CertsAction, DnsRecords, RollAction};

/// Where the config is if nothing else is said.
pub const DEFAULT_CONFIG: &str = "/etc/postern/postern.toml";

/// A transparent, TLS-intercepting gate in front of mail servers.
#[derive(Clone, Debug, Parser)]
#[command(name = "postern", version, disable_help_subcommand = true)]
pub struct CommandLine {
    /// The config file [default: /etc/postern/postern.toml].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One JSON document on standard output instead of text; `run` and `demo` write their log as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl CommandLine {
    /// The config file: the one that was named, or the default one.
    pub fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into())
    }
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show the whole thing on a laptop, without root and without config.
    Demo(Demo),
    /// Run the services in the foreground.
    Run(Run),
    /// Validate the config.
    Check(Check),
    /// Tell what the status page shows.
    Status,
    /// Tell what became of mail, and why.
    Trace(Trace),
    /// Put state, keys and config into one encrypted file.
    Backup(Backup),
    /// Put back what a backup has.
    Restore(Restore),
    /// Look at what waits, and say what is to become of it.
    #[command(subcommand)]
    Queue(QueueAction),
    /// Look at what verdicts hold; let it go, or throw it away.
    #[command(subcommand)]
    Quarantine(QuarantineAction),
    /// Look at senders from whom nothing is wanted; add some, or let them write again.
    #[command(subcommand)]
    Block(BlockAction),
    /// Look at what domains decide for themselves: blocked and allowed senders, traps, aliases; add and remove some.
    #[command(subcommand)]
    Domains(DomainsAction),
    /// Look at users' reports that are held, and say who is right; see what others report about the domains here.
    #[command(subcommand)]
    Reports(ReportsAction),
    /// Look at who sends from here; let send who was stopped, or stop somebody.
    #[command(subcommand)]
    Senders(SendersAction),
    /// Look at who may log in to the page; add, change and remove them.
    #[command(subcommand)]
    Users(UsersAction),
    /// Look at the API's tokens; make some, remove some.
    #[command(subcommand)]
    Tokens(TokensAction),
    /// Show the config that serves and change it; look at the last changes, and undo them.
    #[command(subcommand)]
    Config(ConfigAction),
    /// Tell who changed what.
    Audit(AuditList),
    /// Look at certificates, order them anew, see which TLSA records belong to them.
    #[command(subcommand)]
    Certs(CertsAction),
    /// The DNS records to publish, as a zone file.
    Dns(DnsRecords),
    /// Judge messages without sending them.
    Scan(Scan),
    /// Teach the classifier what is wanted and what is not.
    Learn(Learn),
    /// Measure the classifier on a labelled corpus, from an empty model.
    Evaluate(Evaluate),
    /// Show, load or remove the nftables rule set; ban networks.
    #[command(subcommand)]
    Firewall(FirewallAction),
    /// On the appliance: take a seed, and put the settings in place that were taken.
    FirstBoot(FirstBoot),
    /// On the appliance: show addresses, fingerprints and state on the screen.
    Console(Console),
    /// How `run` starts the gate.
    #[command(hide = true)]
    Gate(Role),
    /// How `run` starts a sift worker.
    #[command(hide = true)]
    SiftWorker(Role),
    /// How the service manager starts what keeps the rule set for `run --rules`; its socket is the standard input.
    #[command(hide = true)]
    Rules,
}

/// `postern run`
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The roles are processes of the user that this is started as, and `postern rules` keeps the rule set at this socket.
    #[arg(long, value_name = "SOCKET")]
    pub rules: Option<PathBuf>,
}

/// Whom a role is to become.
#[derive(Clone, Debug, Args)]
pub struct Role {
    /// The user, by number.
    #[arg(long)]
    pub user: u32,
    /// The group, by number.
    #[arg(long)]
    pub group: u32,
    /// Further groups, by number.
    #[arg(long)]
    pub groups: Vec<u32>,
}

impl Role {
    /// As the confinement takes it.
    pub fn account(&self) -> Account {
        let Self { user, group, groups } = self.clone();
        Account { user, group, groups, name: user.to_string() }
    }
}

/// `postern demo`
#[derive(Clone, Copy, Debug, Args)]
pub struct Demo {
    /// Where mail comes in.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2525")]
    pub smtp: SocketAddr,
    /// Where the status page is.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub admin: SocketAddr,
    /// Stop after the sample mails; exit status 0 if all went as they should.
    #[arg(long)]
    pub once: bool,
}

/// `postern first-boot`
#[derive(Clone, Debug, Args)]
pub struct FirstBoot {
    /// Which part of it.
    #[arg(value_enum)]
    pub step: FirstBootStep,
    /// Put this before every path that is read or written; neither name nor interfaces of this machine are touched.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// Which part of first boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FirstBootStep {
    /// Before there is a network: from a seed volume, and what was stored before.
    Local,
    /// Once there is one: from the cloud's metadata service.
    Network,
}

/// `postern console`
#[derive(Clone, Copy, Debug, Args)]
pub struct Console {
    /// Show it once instead of whenever it changes.
    #[arg(long)]
    pub once: bool,
}

/// `postern check`
#[derive(Clone, Copy, Debug, Args)]
pub struct Check {
    /// Also ask what only the network can tell: whether the servers can be found and reached.
    #[arg(long)]
    pub online: bool,
}

/// `postern trace`
#[derive(Clone, Debug, Default, Args)]
pub struct Trace {
    /// A session (13 letters and digits) or a transaction (a dot and its number behind), as replies and logs name it.
    #[arg(long, conflicts_with_all = ["any", "from", "to", "subject", "ip", "verdict", "outcome", "since", "until", "export"])]
    pub id: Option<String>,
    /// Part of any address, of the subject, of the Message-ID, of what the client calls itself, or of an identifier.
    #[arg(long, value_name = "TEXT")]
    pub any: Option<String>,
    /// Part of the sender's address.
    #[arg(long, value_name = "A")]
    pub from: Option<String>,
    /// Part of a recipient's address.
    #[arg(long, value_name = "A")]
    pub to: Option<String>,
    /// Part of the subject.
    #[arg(long, value_name = "TEXT")]
    pub subject: Option<String>,
    /// The client's address.
    #[arg(long)]
    pub ip: Option<IpAddr>,
    /// What was decided: `pass`, `tag`, `quarantine`, `reject`, `defer`, `discard`, `refused` or `unjudged`.
    #[arg(long, value_name = "V")]
    pub verdict: Option<String>,
    /// How it ended: `accepted`, `spooled`, `deferred`, `refused` or `abandoned`.
    #[arg(long, value_name = "O")]
    pub outcome: Option<String>,
    /// So long ago (`2h`), or a date (`2026-11-21`, `2026-11-21T19:00:00Z`).
    #[arg(long, value_name = "T")]
    pub since: Option<String>,
    /// Before that, written as for `--since`.
    #[arg(long, value_name = "T")]
    pub until: Option<String>,
    /// Everything that is kept, oldest first, as JSON, an entry in each line.
    #[arg(long, conflicts_with_all = ["any", "from", "to", "subject", "ip", "verdict", "outcome", "since", "until", "last"])]
    pub export: bool,
    /// At most so many transactions and sessions without mail, the latest [default: 20, at most 1000].
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

/// `postern backup`
#[derive(Clone, Debug, Args)]
pub struct Backup {
    /// The file to write; it must not exist.
    pub file: PathBuf,
    /// Take the passphrase from the first line of this file instead of asking for it.
    #[arg(long, value_name = "FILE", conflicts_with = "recipients")]
    pub passphrase_file: Option<PathBuf>,
    /// Encrypt for this age recipient (`age1...`) instead of with a passphrase; may be given several times.
    #[arg(long = "recipient", value_name = "RECIPIENT")]
    pub recipients: Vec<String>,
}

/// `postern restore`
#[derive(Clone, Debug, Args)]
pub struct Restore {
    /// The backup.
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    pub file: Option<PathBuf>,
    /// Take the passphrase from the first line of this file instead of asking for it.
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    pub passphrase_file: Option<PathBuf>,
    /// The file with the age identity whose recipient the backup was made for.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Leave out the messages that waited for delivery: they may have been delivered since.
    #[arg(long)]
    pub without_queue: bool,
    /// Keep the config that is here, with its keys and certificates.
    #[arg(long)]
    pub without_config: bool,
    /// Also write the files that the config names outside its own folder.
    #[arg(long, conflicts_with = "without_config")]
    pub elsewhere: bool,
    /// Verify the backup and say what is in it; change nothing.
    #[arg(long, conflicts_with = "resume")]
    pub verify: bool,
    /// Bring a restore to its end that was interrupted.
    #[arg(long)]
    pub resume: bool,
}

/// `postern queue`
#[derive(Clone, Debug, Subcommand)]
pub enum QueueAction {
    /// List messages, the oldest first, and why each waits.
    List(QueueList),
    /// Tell all that is known of one message.
    Show {
        /// As `list` names it.
        id: String,
    },
    /// Try now what waits for its next attempt.
    Retry(QueueWhom),
    /// Hold back: not tried, and not expired, until released.
    Hold(QueueWhom),
    /// Let go what is held back; put what lies in another folder into the queue.
    Release(QueueWhom),
    /// Throw away.
    Remove(QueueWhom),
    /// Stop expiry, or let it go on.
    Disaster {
        /// `on` or `off`.
        #[arg(value_enum)]
        switch: Switch,
    },
}

/// `postern scan`
#[derive(Clone, Debug, Default, Args)]
pub struct Scan {
    /// Messages; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Say why: the words that weighed most, and what would have changed the verdict.
    #[arg(long)]
    pub explain: bool,
    /// The sender's address in MAIL FROM [default: none].
    #[arg(long, value_name = "A", default_value = "", hide_default_value = true)]
    pub from: String,
    /// A recipient's address; may be given several times.
    #[arg(long, value_name = "A")]
    pub to: Vec<String>,
    /// The client's address: with it SPF, DKIM and DMARC are asked.
    #[arg(long)]
    pub ip: Option<IpAddr>,
    /// What the client called itself in EHLO.
    #[arg(long, value_name = "H", default_value = "", hide_default_value = true)]
    pub helo: String,
    /// Exit with 1 if any message gets this verdict or a worse one.
    #[arg(long, value_name = "VERDICT", value_parser = verdict())]
    pub fail_on: Option<Verdict>,
}

/// `postern learn`
#[derive(Clone, Debug, Args)]
pub struct Learn {
    /// What they are.
    #[arg(value_enum)]
    pub class: LearnClass,
    /// Messages, mbox files, Maildirs, or folders of them.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LearnClass {
    /// Unwanted.
    Spam,
    /// Wanted.
    Ham,
}

/// A verdict by its name.
fn verdict() -> impl TypedValueParser<Value = Verdict> {
    // The parser takes none but these names.
    PossibleValuesParser::new(Verdict::ALL.map(Verdict::name))
        .try_map(|name| Verdict::named(&name).ok_or("there is no such verdict"))
}

/// `postern evaluate`
#[derive(Clone, Debug, Args)]
pub struct Evaluate {
    /// Lines of `spam PATH` or `ham PATH` in time order; paths are relative to its folder.
    pub index: PathBuf,
    /// When labels are given: `immediate`, at once; `delayed:N`, N messages late; `none`, never; `reports:FIRST,SHARE,LATE`, at once
    /// for the FIRST messages, then for a SHARE of the mistakes, LATE messages late (`reports` is `reports:500,0.3,200`).
    #[arg(long, value_name = "WHEN", default_value = "immediate")]
    pub feedback: Feedback,
    /// Learn its own verdicts, too, where no label will be given, or not at once.
    #[arg(long)]
    pub self_training: bool,
    /// Give this share (0 to 1) of the labels the wrong way round.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub flipped: f64,
    /// Give this share (0 to 1) of the labels of spam as ham.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub poisoned: f64,
    /// Draw anew what is reported, flipped and poisoned.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Leave the first N messages out of what is measured; they teach nevertheless.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: usize,
    /// Write `label path probability` of each message to this file.
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// `postern queue list`
#[derive(Clone, Debug, Default, Args)]
pub struct QueueList {
    /// Only of this folder: queue, quarantine, reports, traps, expired [default: all].
    #[arg(long, value_name = "F")]
    pub folder: Option<String>,
    /// Only for recipients in this domain, or for this backend.
    #[arg(long, value_name = "D")]
    pub domain: Option<String>,
    /// At most so many [default: 100, at most 1000].
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

/// Which messages are meant.
#[derive(Clone, Debug, Default, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("whom").required(true).args(["ids", "domain", "all"])))]
pub struct QueueWhom {
    /// As `list` names them.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// All for recipients in this domain, or for this backend.
    #[arg(long, value_name = "D")]
    pub domain: Option<String>,
    /// All.
    #[arg(long)]
    pub all: bool,
    /// With --domain or --all: of this folder [default: queue].
    #[arg(long, value_name = "F", conflicts_with = "ids")]
    pub folder: Option<String>,
}

/// `postern firewall`
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum FirewallAction {
    /// Print exactly what `apply` loads. Needs no root.
    Render,
    /// Load the rules, with the routes and kernel settings that they need.
    Apply {
        /// Which servers are armed is read from standard input: the guard has no right to open the file.
        #[arg(long, hide = true)]
        armed_on_stdin: bool,
        /// Then takes away the appliance's rule set that let nothing in until now.
        #[arg(long, hide = true)]
        opens: bool,
    },
    /// Take all of it away again.
    Remove,
    /// List who is banned, and for how long.
    Bans,
    /// Let no connection in from a network.
    Ban {
        /// The network, or a single address.
        #[arg(value_name = "CIDR", value_parser = network)]
        network: IpNet,
        /// For so long (`15m`, `2h`, `5d`).
        #[arg(long = "for", value_name = "DUR", default_value = "1d", value_parser = time)]
        time: Duration,
    },
    /// End the bans of a network and of the networks inside it.
    Unban {
        /// The network, or a single address.
        #[arg(value_name = "CIDR", value_parser = network)]
        network: IpNet,
    },
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let expected = |_| "a network such as `192.0.2.0/24` or an IP address is expected".to_owned();
    text.parse::<IpNet>().map(|network| network.trunc()).or_else(|_| address()).map_err(expected)
}

fn time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "a duration such as `15m`, `2h` or `5d` is expected".to_owned())
}

/// What a command's end means; the numbers are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// It ran, and the answer is no.
    No,
    /// Wrong use or wrong config.
    Wrong,
    /// What it needs could not be reached.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Wrong => 2,
            Exit::Unreachable => 3,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
        let line = CommandLine::try_parse_from(["postern", "demo", "--once", "--json"]).unwrap();
        assert!(line.json && line.config_file() == std::path::Path::new(DEFAULT_CONFIG));
        let Command::Demo(demo) = line.command else { panic!("{line:?}") };
        assert_eq!((demo.smtp.port(), demo.admin.port(), demo.once), (2525, 8080, true));
    }

    #[test]
    fn bans_are_of_networks_and_addresses_and_for_a_day() {
        let action = |words: &[&str]| {
            let words = ["postern", "firewall"].iter().chain(words);
            match CommandLine::try_parse_from(words).map(|line| line.command) {
                Ok(Command::Firewall(FirewallAction::Ban { network, time })) => {
                    Some((network.to_string(), time.as_secs()))
                }
                _ => None,
            }
        };
        assert_eq!(action(&["ban", "192.0.2.7/24"]), Some(("192.0.2.0/24".into(), 86_400)));
        assert_eq!(action(&["ban", "2001:db8::1", "--for", "2h"]), Some(("2001:db8::1/128".into(), 7200)));
        for words in [
            &["ban"][..],
            &["ban", "mail.example"],
            &["ban", "192.0.2.7", "--for", "0s"],
            &["ban", "192.0.2.7/33"],
        ] {
            assert_eq!(action(words), None, "{words:?}");
        }
    }

    #[test]
    fn an_order_for_the_queue_says_for_whom() {
        let whom = |words: &[&str]| {
            let words = ["postern", "queue"].iter().chain(words);
            CommandLine::try_parse_from(words).map(|line| line.command)
        };
        for words in [
            &["remove"][..],
            &["remove", "1", "--all"],
            &["hold", "--domain", "a.example", "--all"],
            &["release", "1", "--folder", "expired"],
            &["disaster", "perhaps"],
        ] {
            assert!(whom(words).is_err(), "{words:?}");
        }
        let Ok(Command::Queue(QueueAction::Release(whom))) =
            whom(&["release", "--all", "--folder", "expired"])
        else {
            panic!();
        };
        assert!(whom.all && whom.folder.as_deref() == Some("expired"));
    }

    #[test]
    fn wrong_use_is_an_exit_status_of_two() {
        for words in
            [&["postern", "rum"][..], &["postern"], &["postern", "trace", "--id", "A", "--ip", "::1"]]
        {
            assert_eq!(CommandLine::try_parse_from(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
