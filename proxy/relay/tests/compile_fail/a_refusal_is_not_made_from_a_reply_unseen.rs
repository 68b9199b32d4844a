//! A refusal holds 4yz or 5yz: its field is its own, and `Refusal::new` may say no.

use smtp::{Refusal, Reply, ReplyCode};

fn main() {
    let ok = Reply::new(ReplyCode::new(250).unwrap(), None, "ok");
    let _: Refusal = Refusal(ok.clone());
    let _: Refusal = Refusal::new(ok);
}
