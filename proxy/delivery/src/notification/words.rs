//! The part of a report that people read.

use super::status::{one_line, spoken};
use super::{Outcome, Report, Speaker, Told};

/// Lines of the text; readers of plain text wrap at 78.
const WIDTH: usize = 72;

/// What stands in the list of messages.
pub(super) fn subject(report: &Report<'_>) -> &'static str {
    let any = |wanted: fn(Outcome) -> bool| report.told.iter().any(|told| wanted(told.fate.outcome));
    if any(|outcome| matches!(outcome, Outcome::Failed | Outcome::Expired)) {
        "Your message could not be delivered"
    } else if any(|outcome| matches!(outcome, Outcome::Delayed { .. })) {
        "Your message is delayed"
    } else {
        "Your message was handed on"
    }
}

/// What happened, in the server's own words, and what one can do.
pub(super) fn text(report: &Report<'_>) -> String {
    let mut text = String::with_capacity(1024);
    paragraph(&mut text, "", &format!("This is the mail gateway {}.", report.reporter.hostname));
    type Belongs = fn(Outcome) -> bool;
    let groups: [(Belongs, &str, &str); 4] = [
        (
            |outcome| outcome == Outcome::Failed,
            "Your message could not be delivered to:",
            "It will not be tried again. If an address is misspelt, correct it and send the message again; otherwise ask \
             the recipient in another way, and pass on what is quoted above.",
        ),
        (
            |outcome| outcome == Outcome::Expired,
            "Your message has waited for too long and is given up for:",
            "It was tried again and again, and will not be tried any more. Send it again later, or ask the recipient in \
             another way.",
        ),
        (
            |outcome| matches!(outcome, Outcome::Delayed { .. }),
            "Your message has not been delivered yet to:",
            "You need not send it again: it is tried until it is delivered or its time is over, and if that happens you \
             are told.",
        ),
        (
            |outcome| outcome == Outcome::Relayed,
            "As you have asked for, you are told that your message was handed on for:",
            "The server that has it now does not send reports. This does not say that it was delivered to the mailbox, or \
             read; if it cannot be delivered, that server may tell you.",
        ),
    ];
    for (belongs, heading, advice) in groups {
        let mut members = report.told.iter().filter(|told| belongs(told.fate.outcome)).peekable();
        if members.peek().is_some() {
            paragraph(&mut text, "", heading);
            members.for_each(|told| recipient(&mut text, told));
            paragraph(&mut text, "", advice);
        }
    }
    let received = record::rfc5322_date(report.original.received_at);
    paragraph(&mut text, "", &format!("The message came here on {received}."));
    let Report { reporter, original, .. } = report;
    paragraph(
        &mut text,
        "",
        &format!(
            "If you write to {} about it, quote this identifier: {}",
            reporter.postmaster, original.transaction
        ),
    );
    text
}

fn recipient(text: &mut String, told: &Told<'_>) {
    line(text, "  ", &format!("<{}>", told.rcpt.forward_path.as_str()));
    let said = match told.fate.speaker {
        Speaker::Postern => "The reason:".to_owned(),
        Speaker::Hidden => "The server said:".to_owned(),
        Speaker::World(server) => format!("The server {server} said:"),
    };
    line(text, "    ", &said);
    spoken(told.fate.reply).iter().for_each(|words| line(text, "      ", words));
    if let Outcome::Delayed { retry_until } = told.fate.outcome {
        line(text, "    ", &format!("It is tried until {}.", record::rfc5322_date(retry_until)));
    }
    text.push_str("\r\n");
}

fn paragraph(text: &mut String, indent: &str, words: &str) {
    line(text, indent, words);
    text.push_str("\r\n");
}

/// Wrapped between words, every line behind `indent`.
fn line(text: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in one_line(words, true).split(' ').filter(|word| !word.is_empty()) {
        if column > 0 && column + 1 + word.len() > WIDTH {
            text.push_str("\r\n");
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        text.push_str(before);
        text.push_str(word);
        column += before.len() + word.len();
    }
    text.push_str("\r\n");
}
