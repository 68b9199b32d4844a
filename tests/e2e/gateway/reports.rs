//! Reports that leave a gateway: to the world's exchangers, from the appliance's own address, whoever sent the mail.

use postern_tests::clients::{Client, How, deliver};
use postern_tests::gateway::{self, names, smtp, without_dns};
use postern_tests::lab::{HIDDEN, LAB, Lab, OUTSIDE, WORLD};
use postern_tests::mail::Mail;
use postern_tests::nameserver::KNOT;
use postern_tests::needs;
use postern_tests::needs::POSTFIX;
use postern_tests::postfix;

use super::{hidden, in_the_world};

#[test]
fn a_sender_in_the_world_is_told_at_his_exchanger_that_a_hidden_server_without_dsn_has_the_message() {
    needs!(LAB, KNOT, POSTFIX);
    let lab = Lab::new();
    without_dns(&lab);
    let zone = format!("@ MX 10 mx\n@ TXT \"v=spf1 mx -all\"\nmx A {}\n", WORLD.v4);
    let (_names, resolver) = names(&lab, &[("world.test", zone)]);
    let postern = gateway::start(&lab, &resolver);
    let server =
        hidden(&lab, HIDDEN.v4.into(), postfix::Options { without: vec!["dsn"], ..Default::default() });
    let exchanger = in_the_world(&lab, WORLD.v4.into(), postfix::Options::default());
    let mut mail = Mail::new("a@world.test", &["b@hidden.test"], "only for the recipient\n");
    mail.rcpt_parameters = "NOTIFY=SUCCESS".to_owned();
    let sent = mail.clone();
    let result = lab.world.run(move || deliver(Client::Wire, smtp(HIDDEN.v4), &sent, &How::default()));
    assert!(result.accepted, "{}\n{}", result.output, postern.log());
    server.mailbox().wait_for_message(mail.message_id());
    let report = String::from_utf8_lossy(&exchanger.mailbox().wait_for_one().whole).into_owned();
    for part in ["Action: relayed", "Return-Path: <>", mail.message_id(), &OUTSIDE.v4.to_string()] {
        assert!(report.contains(part), "{part} is not in\n{report}\n{}", postern.log());
    }
}
