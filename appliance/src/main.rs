//! appliance
fn main() {}
