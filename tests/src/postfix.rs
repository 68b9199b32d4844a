//! Postfix, in folders and on a port of its own: as the hidden server that stores what it accepts, or as the sender that
//! passes everything on to one next hop.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::child::{self, Child};
use crate::dovecot::Dovecot;
use crate::mailbox::Maildir;
use crate::ports;
use crate::scratch::Scratch;

/// Where Debian's package keeps the daemons.
const DAEMONS: &str = "/usr/lib/postfix/sbin";
/// The user that stores the mail.
const OWNER: &str = "nobody";

/// What a [`Postfix`] is like. The default: no TLS, stores everything for everybody, offers all that Postfix can.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// STARTTLS with this certificate.
    pub certificate: Option<Certificate>,
    /// TLS from the first byte (needs `certificate`).
    pub implicit_tls: bool,
    /// MAIL only after STARTTLS.
    pub require_tls: bool,
    /// EHLO keywords it does not offer, e.g. `chunking`, `smtputf8`, `dsn`.
    pub without: Vec<&'static str>,
    /// It believes XCLIENT and XFORWARD from loopback.
    pub xclient: bool,
    /// It wants a PROXY header (`smtpd_upstream_proxy_protocol = haproxy`).
    pub proxy_protocol: bool,
    /// AUTH for this user with this password, and RCPT only after it.
    pub auth: Option<(&'static str, &'static str)>,
    /// Recipients it refuses, each with the reply, e.g. `550 5.1.1 no such user`.
    pub reject: Vec<(&'static str, &'static str)>,
    /// It stores nothing but passes everything on to this server.
    pub next_hop: Option<SocketAddr>,
    /// `smtp_tls_security_level` towards the next hop, and the file of authorities; default: no TLS.
    pub next_hop_tls: Option<(&'static str, std::path::PathBuf)>,
    /// Further lines of main.cf.
    pub extra: Vec<String>,
    /// Listen here instead of on a free port of 127.0.0.1.
    pub address: Option<SocketAddr>,
}

/// A running Postfix.
#[derive(Debug)]
pub struct Postfix {
    address: SocketAddr,
    // Ended in this order, the folder last.
    master: Option<Child>,
    _dovecot: Option<Dovecot>,
    scratch: Scratch,
}

impl Postfix {
    /// Starts one and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(options: &Options) -> Self {
        let scratch = Scratch::new("postfix");
        let address = options.address.unwrap_or_else(ports::free);
        scratch.folder("data", "postfix");
        scratch.folder("mail", OWNER);
        scratch.folder("spool", "root");
        scratch.write("conf/main.cf", main_cf(&scratch, options));
        scratch.write("conf/master.cf", master_cf(address, options));
        let check = child::run(
            Command::new("postfix").arg("-c").arg(scratch.join("conf")).arg("check"),
            Duration::from_secs(60),
        );
        assert!(check.success, "postfix check: {}", check.output);
        let dovecot = options.auth.map(|user| Dovecot::start(&scratch.join("spool/private/auth"), user));
        let mut postfix = Self { address, master: None, _dovecot: dovecot, scratch };
        postfix.start_again();
        postfix
    }

    /// Ends it; its queue and what it stored stay.
    pub fn stop(&mut self) {
        self.master = None;
    }

    /// Starts it where it was stopped, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_again(&mut self) {
        let conf = self.scratch.join("conf");
        let mut command = Command::new(format!("{DAEMONS}/master"));
        command.arg("-d").arg("-c").arg(&conf).env("MAIL_CONFIG", &conf);
        let mut master = Child::spawn("postfix", &command, &self.scratch.join("output"));
        master.expect_listening(self.address);
        self.master = Some(master);
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
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// Waits until it has said what became of the mail with this Message-ID, for `recipients` of them: the log lines
    /// that have `status=`.
    ///
    /// # Panics
    ///
    /// If it says too little within `limit`.
    pub fn outcome(&self, message_id: &str, recipients: usize, limit: Duration) -> Vec<String> {
        ports::wait_until(limit, || {
            Some(outcome(&self.log(), message_id)).filter(|lines| lines.len() >= recipients)
        })
        .unwrap_or_else(|| panic!("no outcome for {message_id}:\n{}", self.log()))
    }
}

/// The status lines of one message: its queue identifier stands beside its Message-ID.
fn outcome(log: &str, message_id: &str) -> Vec<String> {
    let queue_id = log
        .lines()
        .find(|line| line.contains(&format!("message-id={message_id}")))
        .and_then(|line| line.split("]: ").nth(1)?.split(':').next());
    let Some(queue_id) = queue_id else { return Vec::new() };
    let mark = format!("]: {queue_id}: to=");
    log.lines().filter(|line| line.contains(&mark) && line.contains("status=")).map(str::to_owned).collect()
}

fn main_cf(scratch: &Scratch, options: &Options) -> String {
    let folder = scratch.path().display();
    let mut text = format!(
        "compatibility_level = 3.6\n\
         queue_directory = {folder}/spool\n\
         data_directory = {folder}/data\n\
         daemon_directory = {DAEMONS}\n\
         command_directory = /usr/sbin\n\
         mail_owner = postfix\n\
         setgid_group = postdrop\n\
         maillog_file = {folder}/log\n\
         maillog_file_prefixes = {folder}\n\
         myhostname = postfix.test\n\
         mydestination =\n\
         mynetworks = 0.0.0.0/0 [::]/0\n\
         inet_protocols = all\n\
         alias_maps =\n\
         alias_database =\n\
         smtp_host_lookup = native\n\
         smtputf8_autodetect_classes = all\n\
         message_size_limit = 104857600\n\
         virtual_mailbox_limit = 0\n\
         mailbox_size_limit = 0\n\
         queue_run_delay = 5s\n\
         minimal_backoff_time = 5s\n\
         smtpd_client_connection_count_limit = 0\n\
         smtpd_discard_ehlo_keywords = silent-discard {}\n",
        options.without.join(" "),
    );
    match options.next_hop {
        Some(next_hop) => relaying(&mut text, next_hop, options),
        None => storing(&mut text, scratch),
    }
    restrictions(&mut text, options);
    if let Some(certificate) = &options.certificate {
        let level = if options.require_tls { "encrypt" } else { "may" };
        let chain = certificate.both.display();
        let _ = write!(
            text,
            "smtpd_tls_security_level = {level}\nsmtpd_tls_chain_files = {chain}\nsmtpd_tls_loglevel = 1\n\
             smtpd_tls_received_header = yes\n",
        );
    }
    if options.xclient {
        text.push_str("smtpd_authorized_xclient_hosts = 127.0.0.0/8 [::1]/128\n");
        text.push_str("smtpd_authorized_xforward_hosts = 127.0.0.0/8 [::1]/128\n");
    }
    if options.proxy_protocol {
        text.push_str("smtpd_upstream_proxy_protocol = haproxy\n");
    }
    options.extra.iter().for_each(|line| set(&mut text, line));
    text
}

/// A parameter is there once: of each repetition every one of Postfix's processes warns, its logger included, which then waits
/// for itself.
fn set(text: &mut String, line: &str) {
    let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let kept: Vec<&str> = text.lines().filter(|other| name(other) != name(line)).collect();
    *text = format!("{}\n{line}\n", kept.join("\n"));
}

fn storing(text: &mut String, scratch: &Scratch) {
    let owner = nix::unistd::User::from_name(OWNER).ok().flatten();
    let (uid, gid) = owner.map_or((65534, 65534), |user| (user.uid.as_raw(), user.gid.as_raw()));
    let _ = write!(
        text,
        "virtual_mailbox_domains = static:all\n\
         virtual_mailbox_maps = static:inbox/\n\
         virtual_mailbox_base = {}/mail\n\
         virtual_minimum_uid = 1\n\
         virtual_uid_maps = static:{uid}\n\
         virtual_gid_maps = static:{gid}\n",
        scratch.path().display(),
    );
}

fn relaying(text: &mut String, next_hop: SocketAddr, options: &Options) {
    let _ = writeln!(text, "relayhost = [{}]:{}", next_hop.ip(), next_hop.port());
    // Loopback addresses count as its own, and mail to oneself is a loop to Postfix unless it is told otherwise.
    text.push_str("default_transport = smtp\nsmtp_skip_5xx_greeting = no\n");
    match &options.next_hop_tls {
        Some((level, authorities)) => {
            let _ = writeln!(text, "smtp_tls_security_level = {level}");
            let _ = writeln!(text, "smtp_tls_CAfile = {}", authorities.display());
            text.push_str("smtp_tls_loglevel = 1\n");
        }
        None => text.push_str("smtp_tls_security_level = none\n"),
    }
}

fn restrictions(text: &mut String, options: &Options) {
    let mut checks = String::new();
    if !options.reject.is_empty() {
        let entries: String =
            options.reject.iter().map(|(recipient, reply)| format!(" {{ {recipient} = {reply} }}")).collect();
        let _ = write!(checks, "check_recipient_access inline:{{{entries} }}, ");
    }
    if options.auth.is_some() {
        text.push_str(
            "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n\
             smtpd_sasl_security_options = noanonymous\nbroken_sasl_auth_clients = yes\n",
        );
        checks.push_str("permit_sasl_authenticated, reject");
    } else {
        // Postfix does not start with a plain permit; its own networks are all there are.
        checks.push_str("permit_mynetworks, reject");
    }
    text.push_str("smtpd_relay_restrictions = permit_mynetworks, reject\n");
    let _ = writeln!(text, "smtpd_recipient_restrictions = {checks}");
}

fn master_cf(address: SocketAddr, options: &Options) -> String {
    let listen = match address {
        SocketAddr::V4(v4) => v4.to_string(),
        SocketAddr::V6(v6) => format!("[{}]:{}", v6.ip(), v6.port()),
    };
    let wrapper = if options.implicit_tls { "\n  -o smtpd_tls_wrappermode=yes" } else { "" };
    // The queue manager's wake-up time is how long a deferred mail waits at most.
    format!(
        "{listen} inet n - n - - smtpd{wrapper}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_one_message_is_found_in_the_log() {
        let log = "Nov 21 19:00:00 h postfix/cleanup[1]: ABC: message-id=<1@x>\n\
                   Nov 21 19:00:00 h postfix/smtp[2]: ABC: to=<b@b.test>, relay=r, status=sent (250 ok)\n\
                   Nov 21 19:00:00 h postfix/smtp[2]: DEF: to=<c@b.test>, relay=r, status=sent (250 ok)\n";
        assert_eq!(outcome(log, "<1@x>").len(), 1);
        assert!(outcome(log, "<2@x>").is_empty());
    }
}
