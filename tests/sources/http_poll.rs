//! Polled URLs: a server that says something new only when it is known that the last was stored.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, served) = (listener.local_addr().unwrap(), Arc::<Served>::default());
        let shared = served.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || shared.answer(connection));
            }
        });
        Self { address, served }
    }
}

impl Served {
    fn answer(&self, mut connection: TcpStream) {
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
            if connection.write_all(answer.as_bytes()).is_err() {
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
