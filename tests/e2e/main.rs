//! The whole-system tests, a module per topic.

mod absence;
mod arming;
mod backup;
mod client_address;
mod crash;
mod dns;
mod evidence;
mod gateway;
mod hostile;
mod injection;
mod judging;
mod learning;
mod life;
mod misbehaving;
mod notification;
mod overload;
mod peers;
mod personalities;
mod queue;
mod receipts;
mod roles;
mod smuggling;
mod soak;
mod submission;
mod through;
mod tls;
