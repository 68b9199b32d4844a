//! What the whole-system tests are made of: real mail servers and clients as values that clean up after themselves, and
//! scripted ones for what no real one does on cue.
//!
//! - [`postfix`], [`exim`], [`opensmtpd`], [`sink`]: servers in folders and on ports of their own, several at a time, each
//!   as the hidden server and as the sender; what they received is read back as [`mailbox::Stored`].
//! - [`servers`]: the first three behind one face.
//! - [`clients`]: swaks, msmtp, curl, nodemailer and Python's smtplib behind one function.
//! - [`nameserver`]: a DNS with a root of its own, its zones signed, unsigned or broken.
//! - [`clamd`]: the virus scanner; [`rsyslog`]: a server for logs.
//! - [`chromium`]: a browser that is driven, and the rules of accessibility that it can be asked to check.
//! - [`scripted`], [`personalities`]: a fake server and a fake client that follow a script byte by byte.
//! - [`tape`]: a fake server that writes down what it got and misbehaves at one step of the dialogue.
//! - [`promises`]: senders that note every 250, a server that notes every delivery, and the account of both.
//! - [`witness`], [`scan`], [`steady`]: what both ends of a session see, which ports answer, mail at a steady rate.
//! - [`scratch`], [`child`], [`ports`], [`certificate`]: folders, processes, ports and certificates.
//! - [`lab`]: a world, a Postern and an inside in network namespaces; [`gateway`]: with Postern as their gateway.
//! - [`machine`]: a virtual machine that boots the image; [`trunk`]: a cable with a VLAN.
//! - [`pebble`]: a CA that speaks ACME; [`renewal_info`]: the same with renewal windows and profiles; [`acme2certifier`]: another CA.
//! - [`needs!`]: a test that the machine cannot run says so; where nothing may be skipped it fails instead.
//!
//! Everything stays on loopback, and every process ends with the value that owns it, at the latest after
//! [`child::LIFETIME`].
#![allow(
    clippy::disallowed_methods,
    reason = "real processes take real time: nothing here runs under a simulated clock"
)]

pub mod acme2certifier;
pub mod certificate;
pub mod child;
pub mod chromium;
pub mod clamd;
pub mod clients;
pub mod dovecot;
pub mod exim;
pub mod gateway;
pub mod lab;
pub mod machine;
pub mod mail;
pub mod mailbox;
pub mod nameserver;
pub mod needs;
pub mod opensmtpd;
pub mod pebble;
pub mod personalities;
pub mod policy_host;
pub mod ports;
pub mod postern;
pub mod postfix;
pub mod promises;
pub mod renewal_info;
pub mod rsyslog;
pub mod scan;
pub mod scratch;
pub mod scripted;
pub mod servers;
pub mod sink;
pub mod slapd;
pub mod steady;
pub mod tape;
pub mod trunk;
pub mod unpacked;
pub mod validator;
pub mod witness;
