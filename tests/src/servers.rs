//! The three real mail servers behind one face, for what is to hold with each of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::exim::{self, Exim};
use crate::mail::Mail;
use crate::mailbox::Maildir;
use crate::needs::{EXIM, Need, OPENSMTPD, POSTFIX};
use crate::opensmtpd::OpenSmtpd;
use crate::postfix::{self, Postfix};

/// A mail server's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Postfix.
    Postfix,
    /// Exim.
    Exim,
    /// OpenSMTPD, in plain text only.
    OpenSmtpd,
}

impl Kind {
    /// What the machine must have.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::Postfix => POSTFIX,
            Self::Exim => EXIM,
            Self::OpenSmtpd => OPENSMTPD,
        }
    }

    /// What it calls itself in EHLO and in its banner.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postfix => "postfix.test",
            Self::Exim => "exim.test",
            Self::OpenSmtpd => "opensmtpd.test",
        }
    }

    /// Whether it takes part in TLS.
    pub fn has_tls(self) -> bool {
        self != Self::OpenSmtpd
    }
}

/// How a server that passes mail on sees to TLS.
#[derive(Clone, Debug)]
pub enum Trust {
    /// None.
    Plain,
    /// Where it is offered, with whoever it is.
    Anybody,
    /// Required, with a certificate that this file of authorities vouches for, whatever its name.
    Authorities(PathBuf),
}

/// A running mail server.
#[derive(Debug)]
pub enum Server {
    /// Postfix.
    Postfix(Postfix),
    /// Exim.
    Exim(Exim),
    /// OpenSMTPD.
    OpenSmtpd(OpenSmtpd),
}

impl Server {
    /// One that stores everything for everybody, and asks no DNS about clients.
    pub fn storing(kind: Kind, address: SocketAddr, certificate: Option<Certificate>) -> Self {
        match kind {
            Kind::Postfix => Self::Postfix(Postfix::start(&postfix::Options {
                certificate,
                address: Some(address),
                extra: vec!["smtpd_peername_lookup = no".into()],
                ..Default::default()
            })),
            Kind::Exim => Self::Exim(Exim::start(&exim::Options {
                certificate,
                address: Some(address),
                ..Default::default()
            })),
            Kind::OpenSmtpd => Self::OpenSmtpd(OpenSmtpd::storing_at(address)),
        }
    }

    /// One on loopback that passes everything on to this server.
    pub fn relaying(kind: Kind, next_hop: SocketAddr, trust: &Trust) -> Self {
        match kind {
            Kind::Postfix => Self::Postfix(Postfix::start(&postfix::Options {
                next_hop: Some(next_hop),
                next_hop_tls: match trust {
                    Trust::Plain => None,
                    Trust::Anybody => Some(("may", PathBuf::new())),
                    Trust::Authorities(file) => Some(("encrypt", file.clone())),
                },
                extra: vec!["smtp_dns_support_level = disabled".into(), "smtpd_peername_lookup = no".into()],
                ..Default::default()
            })),
            Kind::Exim => Self::Exim(Exim::start(&exim::Options {
                next_hop: Some(next_hop),
                next_hop_may_encrypt: matches!(trust, Trust::Anybody),
                next_hop_authorities: match trust {
                    Trust::Authorities(file) => Some(file.clone()),
                    _ => None,
                },
                ..Default::default()
            })),
            Kind::OpenSmtpd => Self::OpenSmtpd(OpenSmtpd::relaying_in_clear(next_hop)),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Postfix(server) => server.address(),
            Self::Exim(server) => server.address(),
            Self::OpenSmtpd(server) => server.address(),
        }
    }

    /// What it stored.
    pub fn mailbox(&self) -> Maildir {
        match self {
            Self::Postfix(server) => server.mailbox(),
            Self::Exim(server) => server.mailbox(),
            Self::OpenSmtpd(server) => server.mailbox(),
        }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        match self {
            Self::Postfix(server) => server.log(),
            Self::Exim(server) => server.log(),
            Self::OpenSmtpd(server) => server.log(),
        }
    }

    /// Waits until it has said what became of a mail with one recipient: whether it was taken, and the line of its log.
    /// (OpenSMTPD's log does not tell mails apart: it must have had this one alone.)
    ///
    /// # Panics
    ///
    /// If it says nothing within `limit`.
    pub fn outcome(&self, mail: &Mail, limit: Duration) -> (bool, String) {
        let (mark, mut lines) = match self {
            Self::Postfix(server) => ("status=sent", server.outcome(mail.message_id(), 1, limit)),
            Self::Exim(server) => (" => ", server.outcome(mail.message_id(), 1, limit)),
            Self::OpenSmtpd(server) => ("result=\"Ok\"", server.outcome(1, limit)),
        };
        let line = lines.swap_remove(0);
        (line.contains(mark), line)
    }
}
