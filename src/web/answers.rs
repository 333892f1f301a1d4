//! Answers to questions for history: given again where they are kept, and asked of the database once where several want the
//! same at the same time.
//!
//! Invariants: what somebody is told was read after every commit that was acknowledged before he asked: see [`QueryCache`].
//! Whoever asks first asks the database for all; when his client leaves, that is given up, and one of the others begins
//! anew, so that a question ends when nobody wants it any more. Mistakes and failures are shared by those who wait for
//! them, and never kept.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::params::Moment;
use super::problem::{Kind, Problem};
use crate::actors::query_cache::{Asked, QueryCache, Reading, ReadingId, Rows};
use crate::domain::Timestamp;

pub struct Answers {
    cache: Arc<QueryCache>,
    /// By key, who asks the database. Seeded, because keys come from outside.
    asking: Mutex<HashMap<Arc<[u8]>, Asking>>,
}

/// A JSON body, or what went wrong.
type Told = Result<Bytes, Problem>;

struct Asking {
    id: ReadingId,
    told: watch::Receiver<Option<Told>>,
}

/// Who has an answer.
enum Source<'a> {
    Known(Bytes),
    Other(watch::Receiver<Option<Told>>),
    Database(Leader<'a>),
}

/// Asks the database for all who ask the same. Whatever becomes of it, nobody waits for it after.
struct Leader<'a> {
    answers: &'a Answers,
    key: Arc<[u8]>,
    // In this order: those who wait find that nothing is being read when they hear of it.
    reading: Reading,
    told: watch::Sender<Option<Told>>,
}

/// The kinds of questions.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Route {
    Query,
    Envelope,
    Readings,
    Windows,
}

/// The question `of` this kind about a range of time.
pub fn asked(
    route: Route,
    of: &impl Serialize,
    (from, to): (Moment, Moment),
    now: Timestamp,
) -> Result<Asked, Problem> {
    let key = postcard::to_allocvec(&(route, from, to, of));
    let key = key.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(Asked {
        key: key.into(),
        rows: match route {
            Route::Windows => Rows::Windows,
            Route::Query | Route::Envelope | Route::Readings => Rows::Readings,
        },
        from: from.at(now),
        to: to.at(now),
        relative: from.is_relative() || to.is_relative(),
        now,
    })
}

impl Answers {
    pub fn new(cache: Arc<QueryCache>) -> Self {
        Self {
            cache,
            asking: Mutex::default(),
        }
    }

    /// The answer to what is asked. `ask` must tell the reading of its series before it reads anything of them, and look up no
    /// names before it is called.
    pub async fn answer<T: Serialize>(
        &self,
        asked: &Asked,
        ask: impl AsyncFnOnce(&Reading) -> Result<T, Problem>,
    ) -> Result<HttpResponse, Problem> {
        if self.cache.is_off() {
            let answer = ask(&self.cache.begin(asked)).await?;
            return Ok(json(render(&answer)?));
        }
        let leader = loop {
            match self.source(asked) {
                Source::Known(body) => return Ok(json(body)),
                Source::Database(leader) => break leader,
                Source::Other(mut told) => {
                    // An error says that whoever asked has left.
                    let told = told.wait_for(Option::is_some).await.ok();
                    if let Some(told) = told.and_then(|told| told.clone()) {
                        return told.map(json);
                    }
                }
            }
        };
        let told = ask(&leader.reading).await.and_then(|answer| render(&answer));
        if let Ok(body) = &told {
            leader.reading.keep(body.clone());
        }
        leader.told.send_replace(Some(told.clone()));
        told.map(json)
    }

    fn source(&self, asked: &Asked) -> Source<'_> {
        let mut asking = self.asking.lock();
        if let Some(body) = self.cache.get(asked) {
            return Source::Known(body);
        }
        if let Some(other) = asking.get(&asked.key)
            && self.cache.join(other.id, asked.now)
        {
            return Source::Other(other.told.clone());
        }
        let reading = self.cache.begin(asked);
        let (told, hears) = watch::channel(None);
        let other = Asking {
            id: reading.id(),
            told: hears,
        };
        asking.insert(asked.key.clone(), other);
        Source::Database(Leader {
            answers: self,
            key: asked.key.clone(),
            reading,
            told,
        })
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut asking = self.answers.asking.lock();
        // What it read may have been overtaken by a commit, and somebody else have begun.
        if asking
            .get(&self.key)
            .is_some_and(|one| one.id == self.reading.id())
        {
            asking.remove(&self.key);
        }
    }
}

fn render(answer: &impl Serialize) -> Told {
    match serde_json::to_vec(answer) {
        Ok(body) => Ok(body.into()),
        Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
    }
}

fn json(body: Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(body)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use actix_web::body::{MessageBody, to_bytes};
    use tokio::sync::oneshot;

    use super::*;
    use crate::actors::query_cache::Limits;
    use crate::actors::registry::{Registry, RegistryLimits};
    use crate::metrics::Metrics;

    fn answers(bytes: u64) -> Answers {
        let limits = RegistryLimits {
            sensors: 1,
            series_per_sensor: 1,
        };
        let registry = Arc::new(Registry::new(limits, 1, Vec::new(), Vec::new()));
        let limits = Limits {
            bytes,
            life: 60_000_000,
        };
        let cache = QueryCache::new(limits, registry, Arc::new(Metrics::default()));
        Answers::new(Arc::new(cache))
    }

    fn question() -> Asked {
        let range = (Moment::At(Timestamp(0)), Moment::At(Timestamp(9)));
        asked(Route::Query, &"q", range, Timestamp(5)).unwrap()
    }

    fn pending(future: std::pin::Pin<&mut impl Future>) {
        assert!(matches!(
            future.poll(&mut Context::from_waker(Waker::noop())),
            Poll::Pending
        ));
    }

    async fn text(answer: Result<HttpResponse, Problem>) -> String {
        let body = to_bytes(answer.unwrap().into_body().boxed()).await;
        String::from_utf8(body.unwrap().to_vec()).unwrap()
    }

    #[actix_web::test]
    async fn those_who_ask_together_ask_the_database_once() {
        // Once where the answer is kept, and once where it is too large for that.
        for bytes in [1 << 20, 8] {
            let (answers, asked) = (answers(bytes), question());
            let (go, wait) = oneshot::channel::<()>();
            let mut first = pin!(answers.answer(&asked, async |_: &Reading| {
                wait.await.unwrap();
                Ok("one")
            }));
            let mut second = pin!(
                answers.answer(&asked, async |_: &Reading| -> Result<&str, Problem> {
                    panic!("somebody asks already")
                })
            );
            pending(first.as_mut());
            pending(second.as_mut());
            go.send(()).unwrap();
            assert_eq!(text(first.await).await, "\"one\"");
            assert_eq!(text(second.await).await, "\"one\"");
            assert!(answers.asking.lock().is_empty());
        }
    }

    #[actix_web::test]
    async fn one_of_those_who_wait_begins_anew_when_who_asked_has_left() {
        let (answers, asked) = (answers(1 << 20), question());
        let times = Cell::new(0);
        let never = async |_: &Reading| -> Result<&str, Problem> { std::future::pending().await };
        let count = async |_: &Reading| {
            times.set(times.get() + 1);
            tokio::task::yield_now().await;
            Ok("two")
        };
        let mut first = Box::pin(answers.answer(&asked, never));
        let mut second = pin!(answers.answer(&asked, count));
        let mut third = pin!(answers.answer(&asked, count));
        pending(first.as_mut());
        pending(second.as_mut());
        pending(third.as_mut());
        drop(first);
        let (second, third) = futures_util::join!(second, third);
        assert_eq!(
            (text(second).await, text(third).await),
            ("\"two\"".into(), "\"two\"".into())
        );
        assert_eq!(times.get(), 1);
        assert_eq!(
            text(answers.answer(&asked, never).await).await,
            "\"two\"",
            "it is kept"
        );
    }

    #[actix_web::test]
    async fn a_change_meanwhile_is_for_those_who_come_after() {
        let (answers, asked) = (answers(1 << 20), question());
        let (go, wait) = oneshot::channel::<()>();
        let mut before = pin!(answers.answer(&asked, async |_: &Reading| {
            wait.await.unwrap();
            Ok("old")
        }));
        pending(before.as_mut());
        answers.cache.forget();
        let after = answers.answer(&asked, async |_: &Reading| Ok("new")).await;
        assert_eq!(text(after).await, "\"new\"");
        go.send(()).unwrap();
        assert_eq!(text(before.await).await, "\"old\"");
        let last = answers.answer(&asked, async |_: &Reading| Ok("newest")).await;
        assert_eq!(text(last).await, "\"new\"");
    }

    #[actix_web::test]
    async fn a_failure_is_shared_and_not_kept() {
        let (answers, asked) = (answers(1 << 20), question());
        let (go, wait) = oneshot::channel::<()>();
        let mut first = pin!(answers.answer(&asked, async |_: &Reading| {
            wait.await.unwrap();
            Err::<&str, _>(Problem::new(Kind::TooMuch, "too much"))
        }));
        let mut second = pin!(answers.answer(&asked, async |_: &Reading| Ok("never")));
        pending(first.as_mut());
        pending(second.as_mut());
        go.send(()).unwrap();
        assert!(first.await.is_err() && second.await.is_err());
        let third = answers.answer(&asked, async |_: &Reading| Ok("three")).await;
        assert_eq!(text(third).await, "\"three\"");
    }

    #[test]
    fn questions_are_told_apart() {
        let (start, end) = (Moment::At(Timestamp(5)), Moment::NOW);
        let key = |route, of: &str, range| asked(route, &of, range, Timestamp(5)).unwrap().key;
        let keys = [
            key(Route::Query, "a", (start, end)),
            key(Route::Envelope, "a", (start, end)),
            key(Route::Query, "b", (start, end)),
            key(Route::Query, "a", (end, end)),
            key(Route::Query, "a", (start, start)),
            key(Route::Query, "a", (start.earlier(1), end)),
        ];
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }
}
