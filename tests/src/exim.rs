//! Exim, in folders and on a port of its own: as the hidden server, or as the sender, which uses BDAT where CHUNKING is
//! offered.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::child::Child;
use crate::mailbox::Maildir;
use crate::ports;
use crate::scratch::Scratch;
use crate::unpacked;

/// The user it runs as and stores with.
const OWNER: &str = "Debian-exim";

/// What an [`Exim`] is like. The default: no TLS, stores everything for everybody.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// STARTTLS with this certificate.
    pub certificate: Option<Certificate>,
    /// It stores nothing but passes everything on to this server.
    pub next_hop: Option<SocketAddr>,
    /// TLS towards the next hop is required and verified against this file of authorities.
    pub next_hop_authorities: Option<PathBuf>,
    /// TLS towards the next hop where it is offered, with whoever that is.
    pub next_hop_may_encrypt: bool,
    /// It does not offer CHUNKING, and sends no BDAT.
    pub without_chunking: bool,
    /// Recipients it refuses.
    pub reject: Vec<&'static str>,
    /// Listen here instead of on a free port of 127.0.0.1.
    pub address: Option<SocketAddr>,
}

/// A running Exim.
#[derive(Debug)]
pub struct Exim {
    address: SocketAddr,
    _daemon: Child,
    scratch: Scratch,
}

impl Exim {
    /// Starts one and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(options: &Options) -> Self {
        let scratch = Scratch::new("exim");
        let address = options.address.unwrap_or_else(ports::free);
        for folder in ["spool", "log", "mail"] {
            scratch.folder(folder, OWNER);
        }
        let certificate = options.certificate.as_ref().map(|certificate| own_copy(&scratch, certificate));
        let options = &Options {
            next_hop_authorities: options
                .next_hop_authorities
                .as_ref()
                .map(|file| copy(&scratch, file, "authorities.pem")),
            ..options.clone()
        };
        // At the place that is compiled in: a configuration named by -C would cost it its privileges.
        scratch.write("etc/exim4/exim4.conf", config(&scratch, address, options, certificate.as_ref()));
        let mut command = unpacked::command_with_etc("exim", &scratch.join("etc"), &[], "/usr/sbin/exim4");
        command.args(["-bdf", "-q10s"]);
        let mut daemon = Child::spawn("exim", &command, &scratch.join("output"));
        daemon.expect_listening(address);
        Self { address, _daemon: daemon, scratch }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it stored.
    pub fn mailbox(&self) -> Maildir {
        Maildir::at(self.scratch.join("mail/inbox"))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log/mainlog")).unwrap_or_default()
    }

    /// Waits until it has said what became of the mail with this Message-ID, for `recipients` of them: the log lines
    /// with `=>`, `->` (delivered), `**` (failed) or `==` (deferred).
    ///
    /// # Panics
    ///
    /// If it says too little within `limit`.
    pub fn outcome(&self, message_id: &str, recipients: usize, limit: Duration) -> Vec<String> {
        let id = message_id.trim_matches(['<', '>']);
        ports::wait_until(limit, || Some(outcome(&self.log(), id)).filter(|lines| lines.len() >= recipients))
            .unwrap_or_else(|| panic!("no outcome for {message_id}:\n{}", self.log()))
    }
}

fn outcome(log: &str, message_id: &str) -> Vec<String> {
    let arrival =
        log.lines().find(|line| line.contains(" <= ") && line.contains(&format!("id={message_id}")));
    let Some(own_id) = arrival.and_then(|line| line.split(' ').nth(2)) else { return Vec::new() };
    let marks = ["=>", "->", "**", "=="].map(|mark| format!(" {own_id} {mark} "));
    log.lines().filter(|line| marks.iter().any(|mark| line.contains(mark))).map(str::to_owned).collect()
}

/// Exim reads the key as its own user.
fn own_copy(scratch: &Scratch, certificate: &Certificate) -> Certificate {
    Certificate {
        chain: copy(scratch, &certificate.chain, "chain.pem"),
        key: copy(scratch, &certificate.key, "key.pem"),
        both: copy(scratch, &certificate.both, "both.pem"),
    }
}

fn copy(scratch: &Scratch, from: &PathBuf, name: &str) -> PathBuf {
    let content = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    scratch.write(name, content)
}

fn config(
    scratch: &Scratch,
    address: SocketAddr,
    options: &Options,
    certificate: Option<&Certificate>,
) -> String {
    let folder = scratch.path().display();
    let chunking = if options.without_chunking { "" } else { "*" };
    let mut text = format!(
        "exim_path = /usr/sbin/exim4\n\
         exim_user = {OWNER}\n\
         exim_group = {OWNER}\n\
         spool_directory = {folder}/spool\n\
         log_file_path = {folder}/log/%slog\n\
         pid_file_path = {folder}/spool/pid\n\
         local_interfaces = <; {}\n\
         daemon_smtp_ports = {}\n\
         primary_hostname = exim.test\n\
         keep_environment =\n\
         add_environment = PATH=/usr/bin\n\
         host_lookup =\n\
         rfc1413_hosts =\n\
         smtputf8_advertise_hosts = *\n\
         dsn_advertise_hosts = *\n\
         chunking_advertise_hosts = {chunking}\n\
         prdr_enable = true\n\
         message_size_limit = 100M\n\
         smtp_accept_max = 200\n\
         acl_smtp_rcpt = check_rcpt\n\
         log_selector = +smtp_confirmation +tls_cipher +tls_peerdn\n",
        address.ip(),
        address.port(),
    );
    match certificate {
        Some(certificate) => {
            let (chain, key) = (certificate.chain.display(), certificate.key.display());
            let _ =
                write!(text, "tls_advertise_hosts = *\ntls_certificate = {chain}\ntls_privatekey = {key}\n");
        }
        None => text.push_str("tls_advertise_hosts =\n"),
    }
    text.push_str("begin acl\ncheck_rcpt:\n");
    if !options.reject.is_empty() {
        let _ = write!(
            text,
            "  deny recipients = {}\n       message = 5.1.1 no such user here\n",
            options.reject.join(" : "),
        );
    }
    text.push_str("  accept\nbegin routers\n");
    text.push_str(&delivery(scratch, options, chunking));
    text
}

/// Router and transport: to the next hop, or into the mailbox.
fn delivery(scratch: &Scratch, options: &Options, chunking: &str) -> String {
    let Some(next_hop) = options.next_hop else {
        return format!(
            "store:\n  driver = accept\n  transport = mailbox\n\
             begin transports\n\
             mailbox:\n  driver = appendfile\n  directory = {}/mail/inbox\n  maildir_format\n  create_directory\n  \
             user = {OWNER}\n  return_path_add\n  envelope_to_add\n",
            scratch.path().display(),
        );
    };
    // The next hop is a loopback address: to Exim that is this host, and only `self = send` sends there.
    let mut text = format!(
        "onward:\n  driver = manualroute\n  transport = next_hop\n  route_list = * \"<+ {}\"\n  self = send\n\
         begin transports\n\
         next_hop:\n  driver = smtp\n  port = {}\n  allow_localhost\n  hosts_try_chunking = {chunking}\n",
        next_hop.ip(),
        next_hop.port(),
    );
    match &options.next_hop_authorities {
        Some(file) => {
            let _ = write!(
                text,
                "  hosts_require_tls = *\n  tls_verify_certificates = {}\n  tls_verify_hosts = *\n  \
                 tls_verify_cert_hostnames =\n",
                file.display(),
            );
        }
        None if options.next_hop_may_encrypt => {}
        None => text.push_str("  hosts_avoid_tls = *\n"),
    }
    text.push_str("begin retry\n* * F,1h,5s\n");
    text
}
