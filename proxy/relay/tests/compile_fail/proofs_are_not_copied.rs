//! Law 1: one message, one proof, one 250.

fn twice<T: Clone>(proof: &T) -> (T, T) {
    (proof.clone(), proof.clone())
}

fn copy(delivered: &delivery::Delivered, spooled: &spool::Spooled, kept: &relay::Kept) {
    twice(delivered);
    twice(spooled);
    twice(kept);
}

fn main() {}
