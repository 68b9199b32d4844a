//! Law 1: whoever kept part of a message has not kept the message.

use smtp::{Awaiting, Ready, Reply};

fn accept(awaiting: Awaiting<relay::Kept>, stored: spool::Spooled) -> (Ready, Reply) {
    awaiting.accept(stored).unwrap()
}

fn main() {}
