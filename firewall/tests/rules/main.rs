//! The rule set in a kernel: a client in the world, the appliance, and a server inside, each in a network namespace that the
//! test makes for itself, joined by virtual cables. Nothing of the host is touched, and all of it is gone when a test ends.
//!
//! Needs root, `ip` and `nft`; says SKIP where it lacks them. Only [`render`] needs none of that.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod bans;
mod flowtable;
mod front;
mod gateway;
mod lab;
mod life;
mod path_mtu;
mod render;
mod way_around;
