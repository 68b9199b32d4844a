use super::*;

fn mail(line: &str) -> Mail {
    let Ok(Command::Mail(mail)) = Command::parse(line.as_bytes()) else { panic!("{line}") };
    *mail
}

fn error(line: &str) -> CommandError {
    Command::parse(line.as_bytes()).unwrap_err()
}

#[test]
fn verbs_are_read_in_any_case() {
    assert_eq!(Command::parse(b"quit"), Ok(Command::Quit));
    assert_eq!(Command::parse(b"Noop whatever"), Ok(Command::Noop));
    assert_eq!(Command::parse(b"ehlo Mail.Example"), Ok(Command::Ehlo("Mail.Example")));
    assert_eq!(Command::parse(b"HELO [192.0.2.1]"), Ok(Command::Helo("[192.0.2.1]")));
    assert_eq!(Command::parse(b"starttls "), Ok(Command::StartTls));
}

#[test]
fn a_line_that_is_no_command_says_what_was_expected() {
    assert_eq!(error(""), CommandError::Unrecognized);
    assert_eq!(error("XCLIENTELE"), CommandError::Unrecognized);
    assert_eq!(error("XCLIENT ADDR=1.2.3.4"), CommandError::Unrecognized);
    assert_eq!(error("GET / HTTP/1.1"), CommandError::OtherProtocol);
    assert_eq!(error("User-Agent: x"), CommandError::OtherProtocol);
    assert_eq!(error("DATA now"), CommandError::Expected("no argument"));
    assert!(matches!(error("EHLO"), CommandError::Expected(_)));
    assert!(matches!(error("EHLO a b"), CommandError::Expected(_)));
    assert!(matches!(error("MAIL <a@b>"), CommandError::Expected(_)));
    assert_eq!(error("MAIL FROM:a@b"), CommandError::Address(AddressError::Brackets));
    assert_eq!(error("RCPT TO:<@a:b@c>"), CommandError::Address(AddressError::SourceRoute));
    assert_eq!(Command::parse(b"EHLO \xff"), Err(CommandError::NotUtf8));
}

#[test]
fn every_parameter_of_mail_is_read_and_written_back() {
    let line =
        "MAIL FROM:<a@b.example> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2B AUTH=<> REQUIRETLS\r\n";
    let mail = mail(line.trim_end());
    let mut out = Vec::new();
    mail.write(&mut out, |_| true);
    assert_eq!(String::from_utf8(out).unwrap(), line);
    let mut out = Vec::new();
    mail.write(&mut out, |_| false);
    assert_eq!(out, b"MAIL FROM:<a@b.example>\r\n");
}

#[test]
fn parameters_that_are_unknown_doubled_or_wrong_are_told_apart() {
    assert_eq!(error("MAIL FROM:<> HOLDFOR=3"), CommandError::UnknownParameter);
    assert_eq!(error("MAIL FROM:<> SIZE=1 SIZE=2"), CommandError::UnknownParameter);
    assert_eq!(error("MAIL FROM:<> SIZE"), CommandError::BadParameter);
    assert_eq!(error("MAIL FROM:<> SIZE=+1"), CommandError::BadParameter);
    assert_eq!(error("MAIL FROM:<> BODY=9BIT"), CommandError::BadParameter);
    assert_eq!(error("RCPT TO:<a@b> NOTIFY=NEVER,DELAY"), CommandError::BadParameter);
    assert_eq!(error("RCPT TO:<a@b> ORCPT=nosemicolon"), CommandError::BadParameter);
    assert_eq!(error("MAIL FROM:<>SIZE=1"), CommandError::Expected("a space before the parameters"));
    assert_eq!(mail("MAIL FROM:<> SIZE=99999999999999999999").size, Some(u64::MAX));
}

#[test]
fn chunk_sizes_are_checked() {
    assert_eq!(Command::parse(b"BDAT 86 last"), Ok(Command::Bdat { size: 86, last: true }));
    assert_eq!(Command::parse(b"BDAT 4294967296"), Ok(Command::Bdat { size: 1 << 32, last: false }));
    for line in ["BDAT", "BDAT -1", "BDAT 1 FIRST", "BDAT 99999999999999999999", "BDAT 0x10", "BDAT +1 LAST"]
    {
        assert!(matches!(error(line), CommandError::Expected(_)), "{line}");
    }
}

#[test]
fn authentication_takes_a_mechanism_and_at_most_one_response() {
    let plain = Command::parse(b"AUTH plain AGEAYg==").unwrap();
    assert_eq!(plain, Command::Auth { mechanism: "PLAIN".into(), initial: Some("AGEAYg==") });
    assert!(matches!(error("AUTH"), CommandError::Expected(_)));
    assert!(matches!(error("AUTH PLAIN a b"), CommandError::Expected(_)));
    assert!(matches!(error("AUTH PL*IN"), CommandError::Expected(_)));
}

#[test]
fn an_envelope_is_stored_as_its_commands() {
    let mut envelope = Envelope::new(mail("MAIL FROM:<a@b.example> BODY=BINARYMIME RET=FULL"));
    for line in ["RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@d", "RCPT TO:<postmaster>"] {
        let Ok(Command::Rcpt(rcpt)) = Command::parse(line.as_bytes()) else { panic!() };
        envelope.recipients.push(*rcpt);
    }
    let mut stored = Vec::new();
    envelope.write(&mut stored);
    assert_eq!(Envelope::read(&stored), Ok(envelope));
    assert!(Envelope::read(b"RCPT TO:<a@b>\r\n").is_err());
    assert!(Envelope::read(b"").is_err());
}
