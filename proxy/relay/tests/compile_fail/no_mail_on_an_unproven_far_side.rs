//! Law 5: what no policy has looked at is not trusted with mail.

fn main() {
    let mut far = delivery::Far::new();
    let mail = smtp::Mail::new(smtp::ReversePath::Null);
    far.mail(&mail, None, &mut Vec::new());
}
