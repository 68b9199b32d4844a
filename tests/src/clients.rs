//! Real clients behind one function: they send one mail to one address and say whether it was accepted.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Ended};
use crate::mail::{self, Mail};
use crate::needs::{self, Need};
use crate::scratch::Scratch;

pub mod wire;

/// How long a client may take for one mail.
const LIMIT: Duration = Duration::from_secs(120);

/// A program that sends mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// swaks.
    Swaks,
    /// msmtp.
    Msmtp,
    /// curl.
    Curl,
    /// nodemailer.
    Nodemailer,
    /// smtplib of Python 3.
    Python,
    /// Our own, which says the mail's parameters as they are given; no TLS, no AUTH.
    Wire,
}

/// Every one of them that speaks TLS and AUTH.
pub const REAL: [Client; 5] =
    [Client::Swaks, Client::Msmtp, Client::Curl, Client::Nodemailer, Client::Python];

/// How a client secures its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    #[default]
    Plain,
    /// STARTTLS, required and verified against this file of authorities (swaks does not verify).
    StartTls(PathBuf),
    /// TLS from the first byte, verified as above.
    Implicit(PathBuf),
}

/// Everything about a delivery but the mail.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Security of the connection.
    pub security: Security,
    /// User and password for AUTH.
    pub auth: Option<(&'static str, &'static str)>,
}

/// What the client said.
#[derive(Clone, Debug)]
pub struct ClientResult {
    /// Whether the client says that all of it was accepted.
    pub accepted: bool,
    /// What it wrote: for swaks, curl and our own the whole dialogue, for the others at least the refusing reply.
    pub output: String,
}

impl Client {
    /// What the machine must have.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::Swaks => &[Need::Program("swaks")],
            Self::Msmtp => &[Need::Program("msmtp")],
            Self::Curl => &[Need::Program("curl")],
            Self::Nodemailer => {
                &[Need::Program("node"), Need::Cached("node/nodemailer/node_modules/nodemailer")]
            }
            Self::Python => &[Need::Program("python3")],
            Self::Wire => &[],
        }
    }
}

/// Sends one mail. A server's certificate is expected to carry the address (for msmtp and Python also as the name).
pub fn deliver(client: Client, address: SocketAddr, mail: &Mail, how: &How) -> ClientResult {
    if client == Client::Wire {
        return match wire::submit(address, mail) {
            Ok(output) => ClientResult { accepted: true, output },
            Err(output) => ClientResult { accepted: false, output },
        };
    }
    let scratch = Scratch::new("client");
    let (command, input) = match client {
        Client::Swaks => (swaks(&scratch, address, mail, how), None),
        Client::Msmtp => {
            (msmtp(&scratch, address, mail, how), Some(scratch.write("message", mail.unix_content())))
        }
        Client::Curl => (curl(&scratch, address, mail, how), None),
        Client::Nodemailer => (nodemailer(&scratch, address, mail, how), None),
        Client::Python | Client::Wire => (python(&scratch, address, mail, how), None),
    };
    let Ended { success, output, .. } =
        child::run_reading(&command, input.as_deref().unwrap_or_else(|| Path::new("/dev/null")), LIMIT);
    ClientResult { accepted: success, output }
}

fn swaks(scratch: &Scratch, address: SocketAddr, mail: &Mail, how: &How) -> Command {
    // Without fix-up swaks sends the file as it stands, so it is given what goes over the wire.
    let file = scratch.write("message", mail::dot_stuffed(&mail.content));
    let mut command = Command::new("swaks");
    command.args(["--server", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args([
        "--from",
        if mail.from.is_empty() { "<>" } else { &mail.from },
        "--to",
        &mail.to.join(","),
    ]);
    command.args(["--ehlo", "client.test", "--no-data-fixup", "--data"]).arg(format!("@{}", file.display()));
    match how.security {
        Security::Plain => {}
        Security::StartTls(_) => drop(command.arg("--tls")),
        Security::Implicit(_) => drop(command.arg("--tls-on-connect")),
    }
    if let Some((user, password)) = how.auth {
        command.args(["--auth", "PLAIN", "--auth-user", user, "--auth-password", password]);
    }
    command
}

fn msmtp(scratch: &Scratch, address: SocketAddr, mail: &Mail, how: &How) -> Command {
    let mut config = format!(
        "defaults\naccount default\nhost {}\nport {}\ndomain client.test\nfrom {}\nlogfile -\n",
        address.ip(),
        address.port(),
        mail.from,
    );
    match &how.security {
        Security::Plain => config.push_str("tls off\n"),
        Security::StartTls(file) => {
            config.push_str(&format!("tls on\ntls_starttls on\ntls_trust_file {}\n", file.display()));
        }
        Security::Implicit(file) => {
            config.push_str(&format!("tls on\ntls_starttls off\ntls_trust_file {}\n", file.display()));
        }
    }
    if let Some((user, password)) = how.auth {
        config.push_str(&format!("auth plain\nuser {user}\npassword {password}\n"));
    }
    let file = scratch.write("msmtprc", config);
    // msmtp refuses a file with a password that others may read.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut command = Command::new("msmtp");
    command.arg("-v").arg("-C").arg(file).arg("--").args(&mail.to);
    command
}

fn curl(scratch: &Scratch, address: SocketAddr, mail: &Mail, how: &How) -> Command {
    let file = scratch.write("message", &mail.content);
    let scheme = if matches!(how.security, Security::Implicit(_)) { "smtps" } else { "smtp" };
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--verbose",
        "--url",
        &format!("{scheme}://{address}/client.test"),
    ]);
    command.args(["--mail-from", &mail.from]);
    for to in &mail.to {
        command.args(["--mail-rcpt", to]);
    }
    command.arg("--upload-file").arg(file);
    match &how.security {
        Security::Plain => {}
        Security::StartTls(authorities) | Security::Implicit(authorities) => {
            command.arg("--ssl-reqd").arg("--cacert").arg(authorities);
        }
    }
    if let Some((user, password)) = how.auth {
        command.args(["--user", &format!("{user}:{password}")]);
    }
    command
}

const NODE: &str = r#"
const fs = require("fs");
const job = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const nodemailer = require(job.module);
const transport = nodemailer.createTransport({
  host: job.host, port: job.port, name: "client.test", secure: job.security === "implicit",
  requireTLS: job.security === "starttls", ignoreTLS: job.security === "plain",
  tls: job.authorities ? { ca: fs.readFileSync(job.authorities) } : undefined,
  auth: job.user ? { user: job.user, pass: job.password } : undefined,
});
transport.sendMail({ envelope: { from: job.from, to: job.to }, raw: fs.readFileSync(job.message) }).then(
  (info) => { console.log(info.response); process.exit(info.rejected.length ? 1 : 0); },
  (error) => { console.log(String(error), error.response || ""); process.exit(1); },
);
"#;

fn nodemailer(scratch: &Scratch, address: SocketAddr, mail: &Mail, how: &How) -> Command {
    let module = needs::cache().join("node/nodemailer/node_modules/nodemailer");
    let job = job(scratch, address, mail, how, &module);
    let mut command = Command::new("node");
    command.arg(scratch.write("send.js", NODE)).arg(job);
    command
}

const PYTHON: &str = r#"
import json, smtplib, ssl, sys
job = json.load(open(sys.argv[1]))
context = ssl.create_default_context(cafile=job["authorities"]) if job["authorities"] else None
name = "client.test"
if job["security"] == "implicit":
    server = smtplib.SMTP_SSL(job["host"], job["port"], name, timeout=100, context=context)
else:
    server = smtplib.SMTP(job["host"], job["port"], name, timeout=100)
if job["security"] == "starttls":
    server.starttls(context=context)
try:
    if job["user"]:
        server.login(job["user"], job["password"])
    options = job["mail_options"].split()
    refused = server.sendmail(job["from"], job["to"], open(job["message"], "rb").read(), options)
    print(server.quit())
except smtplib.SMTPException as error:
    sys.exit(repr(error))
sys.exit(repr(refused) if refused else 0)
"#;

fn python(scratch: &Scratch, address: SocketAddr, mail: &Mail, how: &How) -> Command {
    let job = job(scratch, address, mail, how, Path::new(""));
    let mut command = Command::new("python3");
    command.arg(scratch.write("send.py", PYTHON)).arg(job);
    command
}

/// What a script is to do, as JSON.
fn job(scratch: &Scratch, address: SocketAddr, mail: &Mail, how: &How, module: &Path) -> PathBuf {
    let (security, authorities) = match &how.security {
        Security::Plain => ("plain", None),
        Security::StartTls(file) => ("starttls", Some(file)),
        Security::Implicit(file) => ("implicit", Some(file)),
    };
    let (user, password) = how.auth.unwrap_or_default();
    let to: Vec<String> = mail.to.iter().map(|to| json(to)).collect();
    let text = format!(
        "{{\"host\":{},\"port\":{},\"security\":{},\"authorities\":{},\"user\":{},\"password\":{},\"from\":{},\
         \"to\":[{}],\"message\":{},\"module\":{},\"mail_options\":{}}}",
        json(&host(address.ip())),
        address.port(),
        json(security),
        authorities.map_or_else(|| "null".to_owned(), |file| json(&file.display().to_string())),
        json(user),
        json(password),
        json(&mail.from),
        to.join(","),
        json(&scratch.write("message", &mail.content).display().to_string()),
        json(&module.display().to_string()),
        json(&mail.mail_parameters),
    );
    scratch.write("job.json", text)
}

fn host(address: IpAddr) -> String {
    address.to_string()
}

/// A JSON string.
fn json(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_are_quoted() {
        assert_eq!(json("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }
}
