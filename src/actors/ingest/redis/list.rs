//! A list as a queue: entries are moved to a list of ours, stored, and deleted there.

use redis::cmd;

use super::super::link::Link;
use super::{BATCH, BATCH_BYTES, BLOCK, End, Entry, Progress, RedisFetch};

/// Entries that are moved in one round trip.
const AT_ONCE: usize = 32;

impl RedisFetch {
    /// Goes on until something fails or it is told to stop.
    pub(super) async fn list(&self, key: &str, from_left: bool, link: &Link) -> Result<(), End> {
        let mut progress = Progress::load(link, format!("redis/list/{key}")).await?;
        let mut connection = self.connect().await?;
        self.connected();
        let ours = |turn: i64| format!("{key}:sensorhive:{}:{turn}", link.intake.source());
        let end = if from_left { "LEFT" } else { "RIGHT" };
        if progress.last.is_some() {
            // What is in it is stored.
            let _: i64 = cmd("DEL")
                .arg(ours(progress.other()))
                .query_async(&mut connection)
                .await?;
        } else {
            // Nothing is known to be stored of either.
            let (from, to) = (ours(progress.other()), ours(progress.next()));
            let mut moving = cmd("LMOVE");
            let moving = moving.arg(from).arg(to).arg("RIGHT").arg("LEFT");
            while moving
                .query_async::<Option<Vec<u8>>>(&mut connection)
                .await?
                .is_some()
            {}
        }
        let left: Vec<Vec<u8>> = cmd("LRANGE")
            .arg(ours(progress.next()))
            .arg(0)
            .arg(-1)
            .query_async(&mut connection)
            .await?;
        let mut taken = left;
        loop {
            link.go().await?;
            if self.is_to_look() {
                // Who may not ask goes without the figure; what else is wrong the next command tells.
                let waiting = cmd("LLEN").arg(key).query_async::<i64>(&mut connection).await;
                self.figures.waiting.set(waiting.unwrap_or(0));
            }
            let place = ours(progress.next());
            if taken.is_empty() {
                let mut first = cmd("BLMOVE");
                first.arg(key).arg(&place).arg(end).arg("RIGHT").arg(BLOCK);
                let Some(first) = first.query_async::<Option<Vec<u8>>>(&mut connection).await? else {
                    continue;
                };
                let mut bytes = first.len();
                taken.push(first);
                while taken.len() < BATCH && bytes < BATCH_BYTES {
                    let mut more = redis::pipe();
                    for _ in 0..AT_ONCE {
                        more.cmd("LMOVE").arg(key).arg(&place).arg(end).arg("RIGHT");
                    }
                    let more: Vec<Option<Vec<u8>>> = more.query_async(&mut connection).await?;
                    let all = more.iter().all(Option::is_some);
                    for entry in more.into_iter().flatten() {
                        bytes += entry.len();
                        taken.push(entry);
                    }
                    if !all {
                        break;
                    }
                }
            }
            let entry = |payload| Entry {
                payload,
                arrival: None,
                place: key.to_owned(),
            };
            let entries: Vec<Entry> = std::mem::take(&mut taken).into_iter().map(entry).collect();
            progress.store(&entries, self.options.max_payload, link).await?;
            self.taken(entries.len());
            let _: i64 = cmd("DEL").arg(&place).query_async(&mut connection).await?;
        }
    }
}
