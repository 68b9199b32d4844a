//! First boot as a whole: boots below a folder of their own ([`boot`]), the metadata services that are asked ([`metadata`]) by an
//! imitation of each ([`imitations`], [`service`]), the files that are made ([`rendered`]) and what the machine's own networkd makes of them
//! ([`networkd`]).

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod boot;
mod imitations;
mod metadata;
mod networkd;
mod rendered;
mod service;
