//! Webhooks, posted to a real HTTP server of the test's own.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use secrecy::SecretString;
use sensorhive::actors::alerting::deliver::Trouble;
use sensorhive::actors::alerting::webhook::{
    Address, Bodies, Format, WebhookDeliverer, WebhookOptions, signature,
};
use sensorhive::actors::alerting::{Deliver, DeliveryError};
use sensorhive::clock::ManualClock;
use sha2::Sha256;

use crate::support::*;

#[derive(Debug, Clone)]
struct Posted {
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Posted {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

struct Hook {
    port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
    handle: actix_web::dev::ServerHandle,
}

impl Hook {
    async fn start(
        status: u16,
        headers: &'static [(&'static str, &'static str)],
        answer: &'static str,
    ) -> Self {
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let to = posted.clone();
        let take = move |request: HttpRequest, body: String| {
            let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
            to.lock().push(Posted {
                query: request.query_string().to_owned(),
                headers: request
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.to_string(), text(value)))
                    .collect(),
                body,
            });
            let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            for header in headers {
                response.insert_header(*header);
            }
            std::future::ready(response.body(answer))
        };
        let server = HttpServer::new(move || App::new().default_service(web::to(take.clone())))
            .workers(1)
            .bind("127.0.0.1:0")
            .unwrap();
        let port = server.addrs()[0].port();
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { port, posted, handle }
    }

    async fn stop(self) -> Vec<Posted> {
        self.handle.stop(false).await;
        self.posted.lock().clone()
    }
}

pub fn hook_options(port: u16) -> WebhookOptions {
    let url = format!("http://127.0.0.1:{port}/secret-path?token=hunter2");
    WebhookOptions {
        name: "chat".to_owned(),
        address: Address::Plain(url.parse().unwrap()),
        format: Format::Json,
        secret_file: None,
        token_file: None,
        timeout: Duration::from_secs(30),
        ca_file: None,
    }
}

pub fn hook(options: WebhookOptions) -> WebhookDeliverer {
    let clock = Arc::new(ManualClock::new(AT));
    WebhookDeliverer::new(
        options,
        Bodies::new(None).unwrap(),
        Some(Arc::new(links())),
        clock,
    )
    .unwrap()
}

#[actix_web::test]
async fn what_is_posted_is_signed() {
    let server = Hook::start(200, &[], "thanks").await;
    let (_directory, key) = secret("swordfish\n");
    let mut options = hook_options(server.port);
    (options.secret_file, options.token_file) = (Some(key.clone()), Some(key));
    let hook = hook(options);
    let accepted = hook.deliver(&alarm(), &[]).await.unwrap();
    assert_eq!(accepted.answer, "200 OK thanks");
    assert_eq!(accepted.taken, ["chat"]);
    hook.deliver(&alarm(), &[]).await.unwrap();
    assert!(
        hook.deliver(&alarm(), &accepted.taken)
            .await
            .unwrap()
            .taken
            .is_empty()
    );
    let posted = server.stop().await;
    assert_eq!(posted.len(), 2);
    let first = &posted[0];
    assert_eq!(first.body, posted[1].body);
    assert_eq!(first.header("sensorhive-notification"), Some("n-1"));
    assert_eq!(first.header("authorization"), Some("Bearer swordfish"));
    assert_eq!(
        first.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let signed = first.header("sensorhive-signature").unwrap();
    assert_eq!(
        signed,
        signature(&SecretString::from("swordfish"), AT.0 / 1_000_000, &first.body)
    );
    // As a receiver checks it.
    let (time, tag) = signed.split_once(",v1=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"swordfish").unwrap();
    mac.update(format!("{}.{}", time.strip_prefix("t=").unwrap(), first.body).as_bytes());
    let tag = data_encoding::HEXLOWER.decode(tag.as_bytes()).unwrap();
    mac.verify_slice(&tag).unwrap();
    let json: serde_json::Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!(json["notification"]["id"], "n-1");
}

#[actix_web::test]
async fn answers_say_whether_to_try_again() {
    for (status, trouble) in [
        (200, None),
        (204, None),
        (408, Some(true)),
        (429, Some(true)),
        (500, Some(true)),
        (503, Some(true)),
        (302, Some(false)),
        (400, Some(false)),
        (404, Some(false)),
    ] {
        let headers = &[("retry-after", "17"), ("location", "http://127.0.0.1:1/")];
        let server = Hook::start(status, headers, "").await;
        let outcome = hook(hook_options(server.port)).deliver(&alarm(), &[]).await;
        match (outcome, trouble) {
            (Ok(_), None) => {}
            (Err(DeliveryError::Retry { trouble, after, .. }), Some(true)) => {
                assert_eq!((trouble, after), (Trouble::Busy, Some(Duration::from_secs(17))));
            }
            (Err(DeliveryError::Refused { answer }), Some(false)) => {
                assert!(answer.starts_with(&status.to_string()), "{answer}");
            }
            (outcome, _) => panic!("{status}: {outcome:?}"),
        }
        assert_eq!(server.stop().await.len(), 1);
    }
}

#[actix_web::test]
async fn an_address_is_never_told() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let hook = hook(hook_options(port));
    let (trouble, answer) = retry(hook.deliver(&alarm(), &[]).await);
    assert_eq!(trouble, Trouble::Connection);
    let told = format!("{answer} {hook:?}");
    assert!(
        !told.contains("hunter2") && !told.contains("secret-path"),
        "{told}"
    );

    let (_directory, file) = secret("ftp://hunter2");
    let mut options = hook_options(port);
    options.address = Address::File(file);
    let (trouble, answer) = retry(crate::hooks::hook(options).deliver(&alarm(), &[]).await);
    assert_eq!(trouble, Trouble::Setup);
    assert!(!answer.contains("hunter2"), "{answer}");
}

#[actix_web::test]
async fn who_does_not_answer_is_left() {
    // It takes connections, and nothing more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = hook_options(listener.local_addr().unwrap().port());
    options.timeout = Duration::from_millis(300);
    let (trouble, _) = retry(hook(options).deliver(&alarm(), &[]).await);
    assert_eq!(trouble, Trouble::TimeOut);
}

#[actix_web::test]
async fn dingtalk_gets_its_own_signature_and_says_no_inside() {
    let server = Hook::start(200, &[], "{\"errcode\":310000,\"errmsg\":\"sign not match\"}").await;
    let (_directory, key) = secret("SECabc");
    let (_other, address) = secret(&format!(
        "http://127.0.0.1:{}/robot/send?access_token=t",
        server.port
    ));
    let options = WebhookOptions {
        format: Format::DingTalk,
        secret_file: Some(key),
        address: Address::File(address),
        ..hook_options(1)
    };
    let error = hook(options).deliver(&alarm(), &[]).await.unwrap_err();
    assert!(
        matches!(&error, DeliveryError::Refused { answer } if answer.contains("310000")),
        "{error}"
    );
    let posted = server.stop().await;
    let millis = AT.0 / 1_000;
    let mut mac = Hmac::<Sha256>::new_from_slice(b"SECabc").unwrap();
    mac.update(format!("{millis}\nSECabc").as_bytes());
    let sign = data_encoding::BASE64.encode(&mac.finalize().into_bytes());
    let sign = sign.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    assert_eq!(
        posted[0].query,
        format!("access_token=t&timestamp={millis}&sign={sign}")
    );
    assert_eq!(posted[0].header("sensorhive-signature"), None);
}
