//! The actor that archives, on a thread of its own: reading a day and packing it must hold up nobody's commit.
//!
//! How it fails: a failed run is told by the archive's status, and the next one does its work.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::maintenance::leads;
use crate::actors::query_cache::QueryCache;
use crate::actors::supervision::Supervise;
use crate::archive::Archiver;
use crate::clock::Clock;
use crate::storage::Store;

pub struct Archivist {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub archiver: Arc<Archiver>,
    pub queries: Arc<QueryCache>,
    pub every: Duration,
}

impl Archivist {
    fn run(&self, ctx: &mut Context<Self>) {
        let (store, clock, archiver) = (self.store.clone(), self.clock.clone(), self.archiver.clone());
        let queries = self.queries.clone();
        let run = async move {
            if let Some(archives) = store.archives()
                && leads(store.as_ref()).await
            {
                // What goes wrong is in the archive's status and in the log.
                let _ = archiver.run(archives, clock.as_ref()).await;
                // Days may have been dropped, even where the run failed.
                queries.forget();
            }
        };
        ctx.spawn(run.into_actor(self));
    }
}

impl Actor for Archivist {
    type Context = Context<Self>;
}

impl Supervised for Archivist {}

impl Supervise for Archivist {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        self.run(ctx);
        ctx.run_interval(self.every, |archivist, ctx| archivist.run(ctx));
    }
}
