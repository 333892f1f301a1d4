//! Servers that misbehave: what may work later, what never will.

use std::time::Duration;

use sensorhive::actors::alerting::deliver::{Accepted, Trouble};
use sensorhive::actors::alerting::mail::{Encryption, SmtpOptions};
use sensorhive::actors::alerting::{Deliver, DeliveryError};

use crate::smtp::{Bad, Behavior, Certificates, free_port};
use crate::support::*;

/// To end a step that would never end; nothing is measured by it.
const SHORT: Duration = Duration::from_millis(300);

async fn send(
    behavior: Behavior,
    change: impl FnOnce(&mut SmtpOptions),
) -> (Result<Accepted, DeliveryError>, Bad) {
    let bad = Bad::start(behavior).await;
    let mut options = options(bad.address.port());
    options.host = "127.0.0.1".to_owned();
    change(&mut options);
    let outcome = deliverer(options).deliver(&alarm(), &[]).await;
    (outcome, bad)
}

#[tokio::test]
async fn what_may_change_is_tried_again() {
    for (behavior, trouble, words) in [
        (
            Behavior::Greets("554 no service here"),
            Trouble::Busy,
            "no service here",
        ),
        (Behavior::Greets("421 too busy"), Trouble::Busy, "too busy"),
        (
            Behavior::Greets("nonsense"),
            Trouble::Connection,
            "when connecting",
        ),
        (Behavior::Says("EHLO", "502 what?"), Trouble::Busy, "what?"),
        (
            Behavior::Says("MAIL", "550 who are you?"),
            Trouble::Login,
            "who are you?",
        ),
        (
            Behavior::Says("MAIL", "451 greylisted"),
            Trouble::Busy,
            "greylisted",
        ),
        (
            Behavior::Says("RCPT", "450 mailbox busy"),
            Trouble::Busy,
            "mailbox busy",
        ),
        (
            Behavior::Says("RCPT", "421 going down"),
            Trouble::Busy,
            "going down",
        ),
        (
            Behavior::Says("DATA", "451 disk full"),
            Trouble::Busy,
            "disk full",
        ),
        (Behavior::SaysToMail("452 disk full"), Trouble::Busy, "disk full"),
        (Behavior::CutsMail, Trouble::Connection, "after the mail"),
        (Behavior::CutsAnswer, Trouble::Connection, "after the mail"),
        (Behavior::Talks, Trouble::Connection, "when connecting"),
        (Behavior::Mumbles, Trouble::Connection, "talks without end"),
    ] {
        let (outcome, _bad) = send(behavior, |_| {}).await;
        let (found, answer) = retry(outcome);
        assert_eq!(found, trouble, "{behavior:?}: {answer}");
        assert!(answer.contains(words), "{behavior:?}: {answer}");
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_for_good() {
    for behavior in [
        Behavior::Says("RCPT", "550 5.1.1 no such user"),
        Behavior::Says("DATA", "554 no"),
        Behavior::SaysToMail("550 5.7.1 looks like spam"),
    ] {
        let (outcome, _bad) = send(behavior, |_| {}).await;
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, DeliveryError::Refused { .. }),
            "{behavior:?}: {error}"
        );
    }
}

#[tokio::test]
async fn who_does_not_answer_is_left() {
    for behavior in [Behavior::Silent, Behavior::SilentAfterMail] {
        let (outcome, _bad) = send(behavior, |options| options.timeout = SHORT).await;
        let (trouble, answer) = retry(outcome);
        assert_eq!(trouble, Trouble::TimeOut, "{behavior:?}: {answer}");
        assert!(answer.contains("was silent for 300ms"), "{answer}");
    }
    let mut nobody = options(free_port());
    nobody.host = "127.0.0.1".to_owned();
    let (trouble, answer) = retry(deliverer(nobody).deliver(&alarm(), &[]).await);
    assert_eq!(trouble, Trouble::Connection);
    assert!(answer.contains("refused"), "{answer}");
}

#[tokio::test]
async fn nothing_is_said_without_the_encryption_that_was_asked_for() {
    let (_directory, password) = secret("hunter2");
    for (behavior, encryption) in [
        (Behavior::SaysToMail("250 OK"), Encryption::StartTls),
        (Behavior::BadTls, Encryption::StartTls),
        (Behavior::SaysToMail("250 OK"), Encryption::Tls),
    ] {
        let (outcome, bad) = send(behavior, |options| {
            options.encryption = encryption;
            options.login = Some(("hive".to_owned(), password.clone()));
        })
        .await;
        let (trouble, answer) = retry(outcome);
        assert_eq!(trouble, Trouble::Tls, "{behavior:?}: {answer}");
        let heard = bad.heard();
        let told = |line: &String| {
            ["AUTH", "MAIL", "RCPT", "DATA"]
                .iter()
                .any(|word| line.starts_with(word))
        };
        assert!(!heard.iter().any(told), "{heard:?}");
    }
}

/// What comes before the handshake was said by anybody.
#[tokio::test]
async fn answers_that_are_slipped_in_before_encryption_are_not_taken_for_the_servers() {
    let certificates = Certificates::make();
    for (behavior, good) in [(Behavior::GoodTls, true), (Behavior::SlipsIn, false)] {
        let bad = Bad::with_tls(behavior, certificates.acceptor.clone()).await;
        let mut options = options(bad.address.port());
        options.encryption = Encryption::StartTls;
        options.ca_file = Some(certificates.authority.clone());
        let outcome = deliverer(options).deliver(&alarm(), &[]).await;
        let heard = bad.heard();
        if good {
            assert_eq!(outcome.unwrap().answer, "250 queued");
            assert!(heard.iter().any(|line| line == "(mail)"), "{heard:?}");
        } else {
            let (trouble, answer) = retry(outcome);
            assert_eq!(trouble, Trouble::Tls, "{answer}");
            assert_eq!(heard, ["EHLO hive.test", "STARTTLS"], "{answer}");
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_between_two_mails_gets_the_second_all_the_same() {
    let bad = Bad::start(Behavior::LeavesAfterMail).await;
    let mut options = options(bad.address.port());
    options.host = "127.0.0.1".to_owned();
    let deliverer = deliverer(options);
    for notification in [alarm(), escalation()] {
        let accepted = deliverer.deliver(&notification, &[]).await.unwrap();
        assert_eq!(accepted.answer, "250 queued");
    }
    let heard = bad.heard();
    assert_eq!(heard.iter().filter(|line| *line == "(mail)").count(), 2);
    assert_eq!(
        heard
            .iter()
            .filter(|line| line.starts_with("EHLO hive.test"))
            .count(),
        2
    );
}
