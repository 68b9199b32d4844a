//! The program `postern`: config, command line, status page, metrics, trace.
//!
//! - [`config`] reads the config file and says everything that is wrong with it.
//! - [`command`] is the command line; [`check`], [`ask`], [`mod@firewall`] and [`engine`] are what its commands do.
//! - [`mod@evaluate`] measures the classifier on a labelled corpus.
//! - [`mod@backup`] makes one file of state, keys and config, and puts them back.
//! - [`recorder`] turns the engine's events into log, metrics, trace and numbers.
//! - [`report`] is what can be asked about a running Postern, as values. The engine answers [`report::Live`].
//! - [`access`] is who may ask, and give orders: users, sessions, tokens.
//! - [`admin`] serves these values as page, JSON and metrics; [`client`] gets them for the commands.
//! - [`settings`] is the config as it is edited while it serves.
//! - [`web`] is the public web server: answers to CAs, policies.
//! - [`roles`] makes of `run` several processes, each with no more rights than it needs.
//! - [`mod@first_boot`] and [`mod@console`] are for the appliance: settings from a seed, and the screen that stands in front of it.
//! - [`logging`], [`output`] and [`service`] are the ways out: log, results, service manager.

pub mod access;
pub mod admin;
pub mod armed;
pub mod ask;
pub mod backup;
pub mod check;
pub mod client;
pub mod command;
pub mod config;
pub mod console;
mod dkim;
mod dmarc_report;
pub mod engine;
pub mod evaluate;
pub mod firewall;
pub mod first_boot;
pub mod logging;
mod mta_sts;
pub mod output;
pub mod recorder;
pub mod report;
pub mod roles;
pub mod service;
pub mod settings;
mod tls_report;
pub mod web;
mod weekly;
mod zone;
