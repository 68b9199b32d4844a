//! The whole-system tests, a module per topic.

mod client_address;
mod injection;
mod life;
mod misbehaving;
mod peers;
mod personalities;
mod receipts;
mod smuggling;
mod soak;
mod submission;
mod through;
mod tls;
