//! Law 1: the answer to content is a 250 only with a proof in hand.

use smtp::{Awaiting, Ready, Reply};

fn accept(awaiting: Awaiting<relay::Kept>) -> (Ready, Reply) {
    awaiting.accept().unwrap()
}

fn main() {}
