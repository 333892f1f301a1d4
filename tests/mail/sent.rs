//! Mails that a real server takes.

use sensorhive::actors::alerting::Deliver;
use sensorhive::actors::alerting::deliver::Trouble;
use sensorhive::actors::alerting::mail::Encryption;

use crate::parts::parse;
use crate::smtp::{Certificates, Options, Server};
use crate::support::*;

#[tokio::test]
async fn a_mail_arrives_as_it_was_made() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let deliverer = deliverer(options(server.port));
    let accepted = deliverer.deliver(&alarm(), &[]).await.unwrap();
    assert_eq!(accepted.answer, "250 2.0.0 queued as 4711");
    assert_eq!(accepted.taken, ["ops@example.org", "night@example.org"]);
    assert!(accepted.refused.is_empty() && accepted.waiting.is_empty());
    let received = &server.received(1).await[0];
    assert_eq!(received.from, "hive@example.org");
    assert_eq!(received.to, accepted.taken);
    assert_eq!(
        String::from_utf8_lossy(&received.bytes).trim_end(),
        String::from_utf8_lossy(&mail(&alarm()).bytes).trim_end()
    );
    assert_eq!(parse(&received.bytes).parts.len(), 5);
}

#[tokio::test]
async fn lines_that_begin_with_a_dot_arrive() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let mut dotted = alarm();
    dotted.alerts[0].reasons = vec![".".to_owned(), "..a".to_owned()];
    deliverer(options(server.port))
        .deliver(&dotted, &[])
        .await
        .unwrap();
    let received = server.received(1).await;
    let text = parse(&received[0].bytes).body_text(0).unwrap().into_owned();
    assert!(
        text.contains("* .\r\n* ..a") || text.contains("* .\n* ..a"),
        "{text}"
    );
}

#[tokio::test]
async fn a_connection_is_used_again_and_replaced_when_it_is_gone() {
    let Some(mut server) = Server::start(&Options::default()) else {
        return;
    };
    let deliverer = deliverer(options(server.port));
    for notification in [alarm(), escalation(), resolve()] {
        deliverer.deliver(&notification, &[]).await.unwrap();
    }
    let received = server.received(3).await;
    assert!(
        received.iter().all(|mail| mail.peer == received[0].peer),
        "{received:?}"
    );

    server.kill();
    let (trouble, _) = retry(deliverer.deliver(&many(), &[]).await);
    assert_eq!(trouble, Trouble::Connection);
    let again = Options {
        port: server.port,
        ..Options::default()
    };
    let server = Server::start(&again).unwrap();
    deliverer.deliver(&many(), &[]).await.unwrap();
    assert_eq!(server.received(1).await.len(), 1);
}

#[tokio::test]
async fn mails_at_once_have_connections_of_their_own() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let deliverer = deliverer(options(server.port));
    let all: Vec<_> = [alarm(), escalation(), resolve(), many()].into();
    let sending = all.iter().map(|one| deliverer.deliver(one, &[]));
    for outcome in futures_util::future::join_all(sending).await {
        outcome.unwrap();
    }
    assert_eq!(server.received(4).await.len(), 4);
}

#[tokio::test]
async fn it_is_encrypted_where_that_was_asked_for_and_trusted_only_when_signed() {
    let certificates = Certificates::make();
    for (tls, encryption) in [("starttls", Encryption::StartTls), ("implicit", Encryption::Tls)] {
        let Some(server) = Server::start(&Options {
            tls,
            certificate: certificates.certificate.clone(),
            key: certificates.key.clone(),
            user: Some("hive"),
            password: "hunter2",
            ..Options::default()
        }) else {
            return;
        };
        let (_directory, password) = secret("hunter2\n");
        let mut options = options(server.port);
        options.encryption = encryption;
        options.login = Some(("hive".to_owned(), password));

        // Nobody has signed it whom the machine trusts.
        let (trouble, answer) = retry(deliverer(options.clone()).deliver(&alarm(), &[]).await);
        assert_eq!(trouble, Trouble::Tls, "{answer}");
        assert!(answer.contains("UnknownIssuer"), "{answer}");

        options.ca_file = Some(certificates.authority.clone());
        deliverer(options.clone()).deliver(&alarm(), &[]).await.unwrap();
        let received = server.received(1).await;
        assert!(received[0].encrypted);
        assert_eq!(received[0].user.as_deref(), Some("hive"));

        // It is another machine's.
        options.host = "127.0.0.1".to_owned();
        let (trouble, answer) = retry(deliverer(options.clone()).deliver(&alarm(), &[]).await);
        assert_eq!(trouble, Trouble::Tls, "{answer}");
        assert_eq!(server.received(1).await.len(), 1);
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it_and_a_new_one_is_taken() {
    let Some(server) = Server::start(&Options {
        user: Some("hive"),
        password: "hunter2",
        ..Options::default()
    }) else {
        return;
    };
    let (_directory, password) = secret("swordfish");
    let mut options = options(server.port);
    options.login = Some(("hive".to_owned(), password.clone()));
    let deliverer = deliverer(options);
    let (trouble, answer) = retry(deliverer.deliver(&alarm(), &[]).await);
    assert_eq!(trouble, Trouble::Login);
    assert!(
        answer.contains("535") && !answer.contains("swordfish"),
        "{answer}"
    );
    assert!(!format!("{deliverer:?}").contains("swordfish"));

    std::fs::write(&password, "hunter2").unwrap();
    deliverer.deliver(&alarm(), &[]).await.unwrap();

    std::fs::remove_file(&password).unwrap();
    // The connection that is open needs none.
    deliverer.deliver(&alarm(), &[]).await.unwrap();
}

#[tokio::test]
async fn each_recipient_is_answered_by_itself() {
    let Some(server) = Server::start(&Options {
        answers: [("ops@example.org", "550 5.1.1 no such user")].into(),
        ..Options::default()
    }) else {
        return;
    };
    let deliverer = deliverer(options(server.port));
    let accepted = deliverer.deliver(&alarm(), &[]).await.unwrap();
    assert_eq!(accepted.taken, ["night@example.org"]);
    assert_eq!(accepted.refused[0].recipient, "ops@example.org");
    assert!(
        accepted.refused[0].answer.contains("5.1.1 no such user"),
        "{accepted:?}"
    );
    assert_eq!(server.received(1).await[0].to, ["night@example.org"]);

    // Nobody is left.
    let done = accepted.taken.clone();
    let error = deliverer.deliver(&alarm(), &done).await.unwrap_err();
    assert!(
        error.to_string().starts_with("refused: ops@example.org: "),
        "{error}"
    );
    // The connection goes on.
    deliverer.deliver(&escalation(), &[]).await.unwrap();
    let received = server.received(2).await;
    assert_eq!(received[0].peer, received[1].peer);
    let everybody = deliverer.recipients().to_vec();
    assert!(
        deliverer
            .deliver(&alarm(), &everybody)
            .await
            .unwrap()
            .taken
            .is_empty()
    );
}

#[tokio::test]
async fn who_is_busy_is_asked_again_alone() {
    let Some(server) = Server::start(&Options {
        answers: [("night@example.org", "450 4.2.1 later")].into(),
        ..Options::default()
    }) else {
        return;
    };
    let deliverer = deliverer(options(server.port));
    let accepted = deliverer.deliver(&alarm(), &[]).await.unwrap();
    assert_eq!(accepted.taken, ["ops@example.org"]);
    assert_eq!(accepted.waiting[0].recipient, "night@example.org");
    let (trouble, answer) = retry(deliverer.deliver(&alarm(), &accepted.taken).await);
    assert_eq!(trouble, Trouble::Busy);
    assert!(answer.contains("4.2.1 later"), "{answer}");
    assert_eq!(server.received(1).await.len(), 1);
}
