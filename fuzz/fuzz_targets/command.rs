//! A command line (RFC 5321 §4.1.1). What is passed on to the next hop is written anew, so it must mean the same there: it
//! reads back as the same value, is one line, and is no longer than what came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_fuzz::only_line;
use smtp::{Command, Mail, Rcpt};

fuzz_target!(|line: &[u8]| {
    match Command::parse(line) {
        Ok(Command::Mail(mail)) => check_mail(line, &mail),
        Ok(Command::Rcpt(rcpt)) => check_rcpt(line, &rcpt),
        Ok(Command::Ehlo(name) | Command::Helo(name)) => assert!(!name.bytes().any(|b| b <= b' ')),
        Ok(Command::Auth { mechanism, .. }) => assert!(mechanism.is_ascii()),
        _ => {}
    }
});

fn check_mail(line: &[u8], mail: &Mail) {
    let mut out = Vec::new();
    mail.write(&mut out, |_| true);
    assert_eq!(Command::parse(only_line(&out)), Ok(Command::Mail(Box::new(mail.clone()))));
    assert!(out.len() <= line.len() + 2);

    // To a server without any extension no parameter is sent.
    out.clear();
    mail.write(&mut out, |_| false);
    let bare = Mail::new(mail.reverse_path.clone());
    assert_eq!(Command::parse(only_line(&out)), Ok(Command::Mail(Box::new(bare))));
}

fn check_rcpt(line: &[u8], rcpt: &Rcpt) {
    let mut out = Vec::new();
    rcpt.write(&mut out, true);
    assert_eq!(Command::parse(only_line(&out)), Ok(Command::Rcpt(Box::new(rcpt.clone()))));
    assert!(out.len() <= line.len() + 2);

    out.clear();
    rcpt.write(&mut out, false);
    let bare = Rcpt::new(rcpt.forward_path.clone());
    assert_eq!(Command::parse(only_line(&out)), Ok(Command::Rcpt(Box::new(bare))));
}
