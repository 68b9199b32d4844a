//! The packet marks and the policy route that tie rules, routes and sockets together.
//!
//! Each mark is one bit, set and matched by mask, so that other programs' marks in other bits live beside them. The bits
//! are in the upper byte, which Kubernetes, Tailscale and Calico leave alone.

/// Packets that belong to a socket of Postern's although their destination address does not belong to the appliance. The
/// policy route hands them to the appliance itself.
pub const DIVERT: u32 = 0x0100_0000;

/// To be set (`SO_MARK`) on all sockets that Postern opens towards others and listens with: their packets are never diverted,
/// whichever way they take. A different bit than [`DIVERT`], or Postern's own packets would be routed back to it.
pub const OWN: u32 = 0x0200_0000;

/// The routing table with the one route that makes every address local.
pub const ROUTING_TABLE: u32 = 2525;

/// The priority of the rule that leads there: after the local table (0), before the main one (32766).
pub const RULE_PRIORITY: u32 = 2525;

const _: () = assert!(DIVERT & OWN == 0 && DIVERT.is_power_of_two() && OWN.is_power_of_two());
