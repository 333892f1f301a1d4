//! Polled URLs: a server that says something new only when it is known that the last was stored.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::authority::Authority;
use crate::instance::{Instance, Place, report, until};
use crate::support::{SERIES, item, place, same_as_in_peace, status, stored};

const KILLS: usize = 12;

/// A server whose document changes when the one before comes back as a condition.
struct Server {
    address: SocketAddr,
    served: Arc<Served>,
}

#[derive(Default)]
struct Served {
    version: AtomicUsize,
    requests: AtomicUsize,
    /// Answers everything by 500.
    broken: AtomicBool,
    /// Never goes on by itself.
    stays: AtomicBool,
}

impl Server {
    fn start() -> Self {
        Self::with(|connection| connection)
    }

    /// One that speaks TLS alone, as `localhost`.
    fn with_tls(certificate: &str, key: &str) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
        let config = config
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        Self::with(move |connection| {
            StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), connection)
        })
    }

    fn with<C: Read + Write>(speak: impl Fn(TcpStream) -> C + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, served) = (listener.local_addr().unwrap(), Arc::<Served>::default());
        let shared = served.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (shared, speak) = (shared.clone(), speak.clone());
                std::thread::spawn(move || shared.answer(speak(connection)));
            }
        });
        Self { address, served }
    }
}

impl Served {
    fn answer(&self, mut connection: impl Read + Write) {
        let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match connection.read(&mut chunk) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => request.extend_from_slice(&chunk[..count]),
                }
            }
            let head = String::from_utf8_lossy(&request).into_owned();
            request.clear();
            self.requests.fetch_add(1, Ordering::SeqCst);
            let version = self.version.load(Ordering::SeqCst);
            let answer = if head.starts_with("GET /large") {
                let body = "x".repeat(3000);
                format!("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n{body}")
            } else if !head.contains("Bearer right") || self.broken.load(Ordering::SeqCst) {
                "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n".to_owned()
            } else if head.contains(&format!("\"v{version}\"")) {
                if !self.stays.load(Ordering::SeqCst) {
                    self.version.store(version + 1, Ordering::SeqCst);
                }
                "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned()
            } else {
                let body =
                    json!({"v": version as f64 + 0.5, "at": item("", version)["timestamp"]}).to_string();
                let length = body.len();
                format!("HTTP/1.1 200 OK\r\nETag: \"v{version}\"\r\nContent-Length: {length}\r\n\r\n{body}")
            };
            if connection
                .write_all(answer.as_bytes())
                .and_then(|()| connection.flush())
                .is_err()
            {
                return;
            }
        }
    }
}

fn source(server: &Server) -> String {
    format!(
        "urls = {{ s = 'http://{}/status?key=secret' }}\ninterval = '1ms'\nerror_interval = '20ms'\n\
         bearer_token_file = 'token'\nmax_body = '1KiB'\n\
         mapping = {{ metrics = {{ t = '/v' }}, timestamp = '/at' }}",
        server.address
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_each_answer_is_stored_once() {
    let server = Server::start();
    let place = place("http_poll", &source(&server));
    std::fs::write(place.path("token"), "right\n").unwrap();
    let mut instance = Instance::start(&place).await;
    for kill in 0..KILLS {
        let before = stored(&instance.api, "s").await;
        until("something to be stored", async || {
            (stored(&instance.api, "s").await > before + 10).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(3 * kill as u64)).await;
        instance.kill9();
        instance = instance.again(&[]).await;
    }
    server.served.stays.store(true, Ordering::SeqCst);
    let count = server.served.version.load(Ordering::SeqCst) + 1;
    let windows = same_as_in_peace(&instance, "s", count).await;
    report(&format!(
        "polled URLs: {KILLS} x kill -9, {} requests: {count} answers = {count} rows, none received twice, {windows} windows equal \
         those of an undisturbed run",
        server.served.requests.load(Ordering::SeqCst)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_shown_without_secrets_and_waited_out() {
    let server = Server::start();
    server.served.stays.store(true, Ordering::SeqCst);
    server.served.broken.store(true, Ordering::SeqCst);
    let place = place("http_poll", &source(&server));
    std::fs::write(place.path("token"), "right\n").unwrap();
    let instance = Instance::start(&place).await;
    let error = until("an error", async || {
        let status = status(&instance.api).await;
        let url = &status["http_poll"]["urls"][0];
        url["last_error"].is_string().then(|| url.clone())
    })
    .await;
    assert_eq!(error["last_error"], "the answer is 500 Internal Server Error");
    assert_eq!(error["url"], format!("http://{}/status", server.address));
    server.served.broken.store(false, Ordering::SeqCst);
    until("it to be stored", async || {
        (stored(&instance.api, "s").await == 1).then_some(())
    })
    .await;
    let log = place.log();
    assert!(!log.contains("right") && !log.contains("secret"), "{log}");
    let large = format!(
        "{SERIES}\n[sources.it]\nkind = 'http_poll'\nurls = ['http://{}/large', 'http://127.0.0.1:9/']\nmax_body = '1KiB'\n",
        server.address
    );
    let instance = Instance::start(&Place::new(&large, &[])).await;
    until("both errors", async || {
        let status = status(&instance.api).await;
        let error = |index: usize| {
            status["http_poll"]["urls"][index]["last_error"]
                .as_str()
                .map(str::to_owned)
        };
        let (large, refused) = (error(0)?, error(1)?);
        assert_eq!(large, "the answer is longer than 1024 bytes (max_body)");
        assert!(refused.contains("refused"), "{refused}");
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_certificate_of_our_own_is_asked_and_no_other() {
    let (ours, another) = (Authority::new("ours"), Authority::new("another"));
    let (certificate, key) = ours.sign("localhost");
    let server = Server::with_tls(&certificate, &key);
    server.served.stays.store(true, Ordering::SeqCst);
    let source = source(&server).replace("http://127.0.0.1", "https://localhost");
    let place = place("http_poll", &format!("{source}\ntls = {{ ca_file = 'ca' }}"));
    std::fs::write(place.path("token"), "right\n").unwrap();
    std::fs::write(place.path("ca"), another.certificate()).unwrap();
    let instance = Instance::start(&place).await;
    let error = until("an error", async || {
        let status = status(&instance.api).await;
        status["http_poll"]["urls"][0]["last_error"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(server.served.requests.load(Ordering::SeqCst), 0);
    std::fs::write(place.path("ca"), ours.certificate()).unwrap();
    let instance = instance.again(&[]).await;
    until("it to be stored", async || {
        (stored(&instance.api, "s").await == 1).then_some(())
    })
    .await;
}
