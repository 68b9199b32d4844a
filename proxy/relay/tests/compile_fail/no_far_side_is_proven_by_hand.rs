//! Law 5: only `prove` makes a far side that may be given mail.

fn main() {
    let _ = delivery::Far::<delivery::Proven>::new();
}
