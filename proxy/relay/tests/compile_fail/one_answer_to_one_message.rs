//! A transaction that was answered cannot be answered again.

use smtp::{Awaiting, Refusal};

fn answer(awaiting: Awaiting<relay::Kept>, kept: relay::Kept, refusal: Refusal) {
    let _ = awaiting.refuse(refusal);
    let _ = awaiting.accept(kept);
}

fn main() {}
