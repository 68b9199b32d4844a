//! Domains and mailboxes (RFC 5321 §4.1.2): kept as they came, compared by one form of the domain, and never able to break out
//! of the angle brackets that they are passed on in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::address::{Host, MAX_DOMAIN, MAX_LOCAL_PART};
use smtp::{Command, Domain, ForwardPath, Mailbox, Rcpt};

fuzz_target!(|text: &str| {
    if let Ok(domain) = text.parse::<Domain>() {
        check_domain(&domain);
        if text.is_ascii() {
            assert_eq!(text.to_ascii_uppercase().parse(), Ok(domain));
        }
    }
    if let Ok(mailbox) = text.parse::<Mailbox>() {
        check_mailbox(text, &mailbox);
    }
});

fn check_domain(domain: &Domain) {
    let text = domain.as_str();
    assert!(!text.is_empty() && text.len() <= MAX_DOMAIN && text.is_ascii() && !text.ends_with('.'));
    assert!(!text.bytes().any(|b| b.is_ascii_uppercase()));
    assert_eq!(domain.to_string().parse(), Ok(domain.clone()));
}

fn check_mailbox(text: &str, mailbox: &Mailbox) {
    assert_eq!(mailbox.as_str(), text);
    assert_eq!(mailbox.to_string().parse(), Ok(mailbox.clone()));
    assert!((1..=MAX_LOCAL_PART).contains(&mailbox.local_part().len()));
    let host = text.strip_prefix(mailbox.local_part()).and_then(|rest| rest.strip_prefix('@'));
    match mailbox.host() {
        Host::Name(domain) => {
            check_domain(domain);
            assert_eq!(host.map(str::parse), Some(Ok(domain.clone())));
        }
        Host::Literal(_) => assert!(host.is_some_and(|host| host.starts_with('[') && host.ends_with(']'))),
    }
    let rcpt = Rcpt::new(ForwardPath::Mailbox(mailbox.clone()));
    let command = format!("RCPT TO:<{mailbox}>");
    assert_eq!(Command::parse(command.as_bytes()), Ok(Command::Rcpt(Box::new(rcpt))));
}
