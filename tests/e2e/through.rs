//! Mail through Postern between real servers and clients: nothing is changed but one Received field on top.

use std::net::SocketAddr;

use postern_tests::certificate::{Authority, Certificate};
use postern_tests::exim::{self, Exim};
use postern_tests::mail::Mail;
use postern_tests::mailbox::{Maildir, Stored};
use postern_tests::opensmtpd::OpenSmtpd;
use postern_tests::postfix::{self, Postfix};

mod clients;
mod content;
mod envelope;
mod senders;

/// A server behind Postern.
enum Hidden {
    Postfix(Postfix),
    Exim(Exim),
    OpenSmtpd(OpenSmtpd),
}

impl Hidden {
    fn postfix() -> Self {
        Self::Postfix(Postfix::start(&postfix::Options::default()))
    }

    /// One that takes mail over TLS only.
    fn postfix_with_tls(authority: &Authority) -> Self {
        let certificate = Some(loopback(authority));
        Self::Postfix(Postfix::start(&postfix::Options {
            certificate,
            require_tls: true,
            ..Default::default()
        }))
    }

    fn exim(options: &exim::Options) -> Self {
        Self::Exim(Exim::start(options))
    }

    fn opensmtpd() -> Self {
        Self::OpenSmtpd(OpenSmtpd::storing())
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Postfix(postfix) => postfix.address(),
            Self::Exim(exim) => exim.address(),
            Self::OpenSmtpd(opensmtpd) => opensmtpd.address(),
        }
    }

    fn mailbox(&self) -> Maildir {
        match self {
            Self::Postfix(postfix) => postfix.mailbox(),
            Self::Exim(exim) => exim.mailbox(),
            Self::OpenSmtpd(opensmtpd) => opensmtpd.mailbox(),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Postfix(postfix) => postfix.log(),
            Self::Exim(exim) => exim.log(),
            Self::OpenSmtpd(opensmtpd) => opensmtpd.log(),
        }
    }
}

fn loopback(authority: &Authority) -> Certificate {
    authority.certify(&["localhost", "127.0.0.1", "::1"])
}

/// The lines of a backend that is reached over verified TLS.
fn verified(authority: &Authority) -> String {
    format!("tls = \"verify\"\ntls_name = \"localhost\"\nca_file = {:?}", authority.file())
}

fn mail() -> Mail {
    Mail::new("a@source.test", &["b@bench.test"], "a line\n.a dot\n..\n\nthe end\n")
}

/// What the server got is what the client sent, under one field of Postern's.
fn expect_passed(stored: &Stored, mail: &Mail) {
    let (field, rest) = stored.one_hop_before();
    assert!(field.contains("by mx.postern.test (Postern) with "), "{field}\n{}", stored.added);
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
    assert!(rest == mail.content, "got:\n{}\nsent:\n{}", shown(rest), shown(&mail.content));
}
