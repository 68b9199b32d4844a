//! A message is judged before a server has an octet of it, and what the verdict says is done (DESIGN §3, DECISIONS 5, law 8).

use std::time::Duration;

use record::{Direction, Event, Verdict};
use relay::{Fate, Judgement, Mark, OnFailure, Own, OwnAddresses, Question};
use smtp::No;
use spool::Folder;

use super::choices::Choices;
use super::harness::{BUDGET, Opening, Play, Sentence, Stage};

const MESSAGE: &str = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\n\
    RCPT TO:<b@one.example>\r\nDATA\r\nX-Postern-Verdict: pass\r\nSubject: x\r\n\r\ntext\r\n.\r\n";

fn judgement(question: &Question, verdict: Verdict, fate: Fate) -> Judgement {
    let mut judgement = Judgement::failed(OnFailure::Pass, question.direction, "", Duration::ZERO);
    (judgement.verdict, judgement.fate) = (verdict, fate);
    judgement.results = "Authentication-Results: mx.postern.example; spf=pass\r\n".into();
    judgement
}

fn play(stage: Stage, mut judge: impl FnMut(&Question) -> Sentence + 'static) -> Play {
    let stage = Stage { judge: Some(Box::new(move |question, _| judge(question))), ..stage };
    Play::on(stage, Box::new(|_, _| Opening::agreeable()), Choices::Plain)
}

/// The same verdict for every message.
fn always(verdict: Verdict, fate: Fate) -> Play {
    play(Stage::default(), move |question| {
        Sentence::Verdict(Box::new(judgement(question, verdict, fate.clone())))
    })
}

fn spam() -> No {
    No::NotWanted("it is spam".into())
}

fn verdict(play: &Play) -> Option<(Verdict, bool)> {
    play.events.iter().find_map(|event| match event {
        Event::Transaction(transaction) => Some((transaction.verdict, transaction.opinion.is_some())),
        _ => None,
    })
}

#[test]
fn what_passes_carries_the_verdict_and_no_forged_one() {
    let tag = Mark { word: "tag", spam_flag: true };
    for (mark, flag) in [(Mark::PASS, ""), (tag, "X-Spam-Flag: YES\r\n")] {
        let mut play = always(Verdict::Tag, Fate::Deliver(mark));
        play.client(MESSAGE);
        let replies = play.replies();
        let id = replies[6].rsplit_once('(').unwrap().1.trim_end_matches(')').to_owned();
        let taken = String::from_utf8(play.taken()[0].content.clone()).unwrap();
        let top = format!(
            "X-Postern-Verdict: {}; id={id}\r\n{flag}Authentication-Results: mx.postern.example; spf=pass\r\nReceived: ",
            mark.word
        );
        assert!(taken.starts_with(&top), "{taken}");
        assert_eq!(taken.matches("X-Postern-Verdict").count(), 1, "{taken}");
        assert_eq!(verdict(&play), Some((Verdict::Tag, true)));
        play.end();
    }
}

#[test]
fn the_judge_sees_the_content_as_it_came_while_no_server_has_it() {
    let mut play = play(Stage::default(), |_| Sentence::Nothing);
    play.client(MESSAGE);
    assert_eq!((play.judged.len(), play.codes().len()), (1, 6), "nobody has answered yet");
    assert!(play.taken().is_empty() && !play.heard("one").iter().any(|line| line.starts_with("BDAT")));
    play.end();
}

#[test]
fn a_refusal_names_the_trace_and_leaves_the_session_and_its_server_usable() {
    let mut play = always(Verdict::Reject, Fate::Refuse(spam()));
    play.client(MESSAGE).client("NOOP\r\n");
    let replies = play.replies();
    assert!(replies[6].starts_with("550 5.7.1 the message is not wanted: it is spam ("), "{replies:?}");
    assert!(replies[7].starts_with("250"), "{replies:?}");
    assert!(play.taken().is_empty() && play.spooled.is_empty());
    assert_eq!(verdict(&play), Some((Verdict::Reject, true)));
    play.end();
}

#[test]
fn what_is_held_is_on_disk_before_the_250() {
    let mut play = always(Verdict::Quarantine, Fate::Hold(spam()));
    play.client(MESSAGE);
    assert_eq!(play.codes().last(), Some(&250));
    assert!(play.taken().is_empty());
    let [held] = &play.spooled[..] else { panic!("{:?}", play.spooled) };
    assert_eq!((held.folder, held.recipients.len()), (Folder::Quarantine, 2));
    assert!(held.content.starts_with(b"X-Postern-Verdict: quarantine; id="));
    play.end();

    let mut play = always(Verdict::Quarantine, Fate::Hold(spam()));
    play.is_disk_full = true;
    play.client(MESSAGE);
    assert_eq!(play.codes().last(), Some(&452), "no promise without a disk");
    play.end();
}

#[test]
fn recipients_of_different_fates_are_delivered_to_or_held_never_bounced() {
    let tag = Fate::Deliver(Mark { word: "tag", spam_flag: true });
    for (apart, taken, held) in [
        (Fate::Refuse(spam()), 1, 1),
        (Fate::Hold(spam()), 1, 1),
        (tag, 2, 0),
        (Fate::Deliver(Mark::PASS), 1, 0),
    ] {
        let mut play = play(Stage::default(), move |question| {
            let mut judgement = judgement(question, Verdict::Pass, Fate::Deliver(Mark::PASS));
            judgement.apart = vec![(1, apart.clone())];
            Sentence::Verdict(Box::new(judgement))
        });
        play.client(MESSAGE);
        assert_eq!(play.codes().last(), Some(&250));
        assert_eq!((play.taken().len(), play.spooled.len()), (taken, held));
        if held == 1 {
            assert_eq!(
                play.taken()[0].recipients,
                ["a@one.example"],
                "who is held is not told to the server"
            );
            assert_eq!(play.spooled[0].recipients, ["b@one.example"]);
            assert_eq!(play.spooled[0].folder, Folder::Quarantine);
        }
        play.end();
    }
}

#[test]
fn a_judge_that_breaks_or_hangs_leads_to_what_is_configured() {
    for (on_failure, code) in [(OnFailure::Pass, 250), (OnFailure::Defer, 451)] {
        for hangs in [false, true] {
            let stage = Stage { on_failure, ..Stage::default() };
            let mut play = play(stage, move |_| if hangs { Sentence::Nothing } else { Sentence::Breaks });
            let began = play.now;
            play.client(MESSAGE);
            if hangs {
                play.let_time_run_out();
                assert!(play.now - began <= BUDGET + Duration::from_secs(2));
            }
            let replies = play.replies();
            assert!(replies[6].starts_with(&code.to_string()), "{replies:?}");
            assert_eq!(play.taken().len(), usize::from(code == 250));
            assert!(verdict(&play).is_some_and(|(_, told)| told), "the record says what failed");
            play.end();
        }
    }
}

#[test]
fn a_verdict_that_comes_too_late_is_not_taken_for_the_next_message() {
    let mut play = play(Stage::default(), |_| Sentence::Nothing);
    play.client(MESSAGE);
    let first = play.judged[0].parse().unwrap();
    play.let_time_run_out();
    play.client(&MESSAGE[MESSAGE.find("MAIL").unwrap()..]);
    let late = Judgement::failed(OnFailure::Defer, Direction::Inbound, "late", Duration::ZERO);
    play.step(relay::Input::Judged(first, Box::new(late)));
    play.run();
    assert_eq!(play.judged.len(), 2);
    assert_eq!(play.codes().last(), Some(&354), "the second still waits for its own");
    play.end();
}

#[test]
fn a_server_that_goes_while_the_judge_works_is_replaced() {
    let mut play = play(Stage::default(), |_| Sentence::Nothing);
    play.client(MESSAGE);
    play.lose("one");
    play.let_time_run_out();
    assert_eq!(play.codes().last(), Some(&250));
    assert_eq!((play.opened(), play.taken().len()), (2, 1));
    play.end();
}

#[test]
fn traps_take_the_worlds_mail_and_reports_come_from_inside_only() {
    let own = OwnAddresses::default()
        .with("Spam@mx.postern.example", Own::Report)
        .with("trap@one.example", Own::Trap);
    let stage = |may_relay| Stage { may_relay, own: own.clone(), ..Stage::default() };
    let wire = "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<spam@MX.postern.example>\r\n\
        RCPT TO:<Trap@one.example>\r\nDATA\r\n\r\ntext\r\n.\r\n";
    let mut outside = play(stage(false), |_| panic!("it is for nobody else"));
    outside.client(wire);
    assert_eq!(outside.codes(), [220, 250, 250, 550, 250, 354, 250]);
    let [trapped] = &outside.spooled[..] else { panic!("{:?}", outside.spooled) };
    assert_eq!((trapped.folder, &*trapped.recipients[0]), (Folder::Traps, "Trap@one.example"));
    assert_eq!(verdict(&outside), Some((Verdict::Discard, false)));
    assert_eq!(outside.opened(), 0, "no server hears of a trap");
    outside.end();

    let mut inside = play(stage(true), |question| {
        assert!(!question.trapped && question.direction == Direction::Outbound);
        Sentence::Verdict(Box::new(judgement(question, Verdict::Pass, Fate::Deliver(Mark::PASS))))
    });
    inside.client(wire);
    assert_eq!(inside.codes(), [220, 250, 250, 250, 250, 354, 250]);
    let folders: Vec<_> = inside.spooled.iter().map(|stored| stored.folder).collect();
    assert_eq!(folders, [Folder::Reports]);
    assert_eq!(
        inside.taken()[0].recipients,
        ["Trap@one.example"],
        "who is inside may name a trap by mistake"
    );
    assert!(inside.taken()[0].content.starts_with(b"Received: "), "no verdict on what comes from inside");
    inside.end();
}

#[test]
fn what_others_report_about_domains_is_taken_from_anybody_and_judged_by_nobody() {
    let own = OwnAddresses::default().with("reports@mx.postern.example", Own::Feedback);
    for may_relay in [false, true] {
        let stage = Stage { may_relay, own: own.clone(), ..Stage::default() };
        let mut play = play(stage, |_| panic!("it is for nobody else"));
        play.client(
            "EHLO client.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<Reports@mx.postern.example>\r\nDATA\r\n\r\n\
             text\r\n.\r\n",
        );
        assert_eq!(play.codes(), [220, 250, 250, 250, 354, 250]);
        let [stored] = &play.spooled[..] else { panic!("{:?}", play.spooled) };
        assert_eq!((stored.folder, &*stored.recipients[0]), (Folder::Reports, "Reports@mx.postern.example"));
        assert_eq!(play.opened(), 0, "no server hears of it");
        play.end();
    }
}

#[test]
fn a_trap_beside_others_is_told_to_the_judge_and_kept_with_what_is_held() {
    let stage = Stage { own: OwnAddresses::default().with("b@one.example", Own::Trap), ..Stage::default() };
    let mut play = play(stage, |question| {
        assert!(question.trapped);
        Sentence::Verdict(Box::new(judgement(question, Verdict::Quarantine, Fate::Hold(spam()))))
    });
    play.client(MESSAGE);
    assert_eq!(play.codes().last(), Some(&250));
    let mut folders: Vec<_> =
        play.spooled.iter().map(|stored| (stored.folder, stored.recipients.clone())).collect();
    folders.sort();
    let expected = [
        (Folder::Quarantine, vec!["a@one.example".to_owned()]),
        (Folder::Traps, vec!["b@one.example".to_owned()]),
    ];
    assert_eq!(folders, expected);
    play.end();
}

/// The reply to MAIL, and the transactions that were told of, with their replies.
fn turned_away(only_as: Option<&str>, helo: &str) -> (Vec<String>, Vec<String>) {
    let opinion = Judgement::failed(OnFailure::Pass, Direction::Inbound, "", Duration::ZERO).opinion;
    let opinion = record::Opinion { carried_out: Verdict::Reject, ..opinion };
    let no = No::Listed("it is on a list".into());
    let unwelcome = relay::Unwelcome { no, opinion, only_as: only_as.map(Into::into) };
    let stage = Stage { unwelcome: Some(Box::new(unwelcome)), ..Stage::default() };
    let mut play = Play::on(stage, Box::new(|_, _| Opening::agreeable()), Choices::Plain);
    play.client(format!(
        "EHLO {helo}\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@one.example>\r\nMAIL FROM:<>\r\n"
    ));
    let told = play.events.iter().filter_map(|event| match event {
        Event::Transaction(one) if one.ended_at_mail() => {
            assert_eq!((one.verdict, one.opinion.is_some()), (Verdict::Reject, true));
            Some(format!("{} <{}>", one.id.number, one.reverse_path))
        }
        _ => None,
    });
    let told = told.collect();
    (play.replies().iter().skip(2).map(|reply| reply.chars().take(9).collect()).collect(), told)
}

#[test]
fn who_is_not_wanted_is_told_so_at_mail_and_each_mail_is_a_transaction() {
    let (replies, told) = turned_away(None, "client.example");
    assert_eq!(replies, ["550 5.7.1", "503 5.5.1", "550 5.7.1"]);
    assert_eq!(told, ["1 <a@x.example>", "2 <>"]);
    let (replies, told) = turned_away(Some("mx.postern.example"), "MX.Postern.Example.");
    assert_eq!((replies[0].as_str(), told.len()), ("550 5.7.1", 2));
    let (replies, told) = turned_away(Some("mx.postern.example"), "mail.mx.postern.example");
    assert_eq!((replies[0].as_str(), told.len()), ("250 2.1.0", 0));
}
