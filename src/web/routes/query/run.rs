//! Answering a question, a page at a time.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::check::Checked;
use super::cursor::{Cursor, GroupKey, Place};
use super::{Aggregation, RowBody};
use crate::actors::query_cache::Reading;
use crate::domain::{Micros, SeriesId, Tags, Timestamp};
use crate::storage::StoreError;
use crate::storage::history::{Bucket, Page};
use crate::web::params;
use crate::web::problem::{FieldError, Problem};
use crate::web::routes::history::go_on;
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

/// Series that one page looks at, or that one question groups.
const MAX_SERIES: usize = 1_000;
/// Readings that one page looks at to find those with certain values.
const MAX_LOOKED_AT: usize = 100_000;
/// Readings that are looked at together.
const LOOK: usize = 5_000;
/// Buckets that are held to be put together, of all series of a group.
const MAX_BUCKETS: usize = 200_000;
/// Series of a group that are asked for at the same time.
const AT_ONCE: usize = 4;

/// Tells `reading` of all series that the page looks at, or would if there were less of others.
pub async fn run(
    state: &AppState,
    question: &Checked,
    reading: &Reading,
) -> Result<Listed<RowBody>, Problem> {
    match &question.group_by {
        Some(tag) => by_group(state, question, tag, reading).await,
        None => by_series(state, question, reading).await,
    }
}

/// Values of one series or group, and where they go on.
struct Found {
    rows: Vec<(Timestamp, Option<f64>)>,
    /// The time after which there is more.
    more: Option<Timestamp>,
}

async fn by_series(
    state: &AppState,
    question: &Checked,
    reading: &Reading,
) -> Result<Listed<RowBody>, Problem> {
    let mut data = Vec::new();
    let mut resume = question.cursor.clone();
    let mut looks = MAX_LOOKED_AT;
    let all = question.selection.series(state, resume.as_ref(), MAX_SERIES + 1);
    reading.watch(all.iter().map(|(_, series)| *series));
    for (place, (info, series)) in all.into_iter().enumerate() {
        let at = Place::Series(info.key, series);
        let after = resume
            .take()
            .filter(|cursor| cursor.at == at)
            .and_then(|cursor| cursor.after);
        if data.len() >= question.limit || looks == 0 || place == MAX_SERIES {
            return Ok(page(data, Some(Cursor { at, after })));
        }
        let room = question.limit - data.len();
        let found = match question.aggregation {
            None => readings(state, question, series, after, room, &mut looks).await?,
            Some(aggregation) => buckets(state, question, aggregation, &[series], after, room).await?,
        };
        let metric = info.series.iter().find(|(_, id)| *id == series);
        let field = metric.map(|(metric, _)| metric.to_string()).unwrap_or_default();
        data.extend(found.rows.into_iter().map(|(time, value)| RowBody {
            time: Time(time),
            measurement: info.id.to_string(),
            field: field.clone(),
            value,
            tags: info.tags.clone(),
        }));
        if found.more.is_some() {
            let after = found.more;
            return Ok(page(data, Some(Cursor { at, after })));
        }
    }
    Ok(page(data, None))
}

async fn by_group(
    state: &AppState,
    question: &Checked,
    tag: &str,
    reading: &Reading,
) -> Result<Listed<RowBody>, Problem> {
    let Some(aggregation) = question.aggregation else {
        return Ok(page(Vec::new(), None));
    };
    let all = question.selection.series(state, None, MAX_SERIES + 1);
    if all.len() > MAX_SERIES {
        let reason =
            format!("is over more than {MAX_SERIES} series: narrow it by `measurement` or `filters`");
        params::finish(vec![FieldError::new("group_by", "invalid", reason)])?;
    }
    reading.watch(all.iter().map(|(_, series)| *series));
    let mut groups: BTreeMap<GroupKey, Vec<SeriesId>> = BTreeMap::new();
    for (info, series) in all {
        if let Some((metric, _)) = info.series.iter().find(|(_, id)| *id == series) {
            let key = (info.tags.get(tag).cloned(), metric.to_string());
            groups.entry(key).or_default().push(series);
        }
    }
    let mut data = Vec::new();
    let mut resume = question.cursor.clone();
    for (key, series) in groups {
        let at = Place::Group(key.clone());
        let after = match resume.as_ref().map(|cursor| &cursor.at) {
            Some(Place::Group(begin)) if key < *begin => continue,
            _ => resume
                .take()
                .filter(|cursor| cursor.at == at)
                .and_then(|cursor| cursor.after),
        };
        if data.len() >= question.limit {
            return Ok(page(data, Some(Cursor { at, after })));
        }
        let room = question.limit - data.len();
        let found = buckets(state, question, aggregation, &series, after, room).await?;
        let (value_of_tag, field) = key;
        let tags: Tags = value_of_tag
            .map(|value| (tag.to_owned(), value))
            .into_iter()
            .collect();
        data.extend(found.rows.into_iter().map(|(time, value)| RowBody {
            time: Time(time),
            measurement: question.selection.measurement.clone(),
            field: field.clone(),
            value,
            tags: tags.clone(),
        }));
        if found.more.is_some() {
            let after = found.more;
            return Ok(page(data, Some(Cursor { at, after })));
        }
    }
    Ok(page(data, None))
}

fn page(data: Vec<RowBody>, next: Option<Cursor>) -> Listed<RowBody> {
    Listed {
        data,
        next: next.map(|cursor| cursor.encode()),
    }
}

/// Readings with such values, looking at no more than `looks`.
async fn readings(
    state: &AppState,
    question: &Checked,
    series: SeriesId,
    after: Option<Timestamp>,
    room: usize,
    looks: &mut usize,
) -> Result<Found, Problem> {
    let mut page = question.page();
    if let Some(after) = after {
        go_on(&mut page, after);
    }
    let mut rows = Vec::new();
    loop {
        page.limit = match question.value {
            None => room,
            Some(_) => LOOK.min(*looks),
        };
        let points = state.store.readings(series, &page).await?;
        for point in &points {
            if question.value.is_none_or(|filter| filter.takes(point.value)) {
                rows.push((point.time, Some(point.value)));
            }
            if rows.len() == room {
                let more = Some(point.time);
                return Ok(Found { rows, more });
            }
        }
        let last = points.last().map(|point| point.time);
        let Some(last) = last.filter(|_| points.len() == page.limit) else {
            return Ok(Found { rows, more: None });
        };
        *looks = looks.saturating_sub(points.len());
        if *looks == 0 {
            let more = Some(last);
            return Ok(Found { rows, more });
        }
        go_on(&mut page, last);
    }
}

/// Aggregates over all of `series` together.
async fn buckets(
    state: &AppState,
    question: &Checked,
    aggregation: Aggregation,
    series: &[SeriesId],
    after: Option<Timestamp>,
    room: usize,
) -> Result<Found, Problem> {
    let Some(step) = question.step else {
        let (from, to) = (question.from, question.to);
        let each = asked(series, async |one| state.store.summary(one, from, to).await).await?;
        let all = each.into_iter().flatten().reduce(|a, b| a.join(&b));
        let rows = all.map(|bucket| (from, Some(aggregation.of(&bucket))));
        return Ok(Found {
            rows: rows.into_iter().collect(),
            more: None,
        });
    };
    let mut page = question.page();
    page.limit = room.min(MAX_BUCKETS / series.len().max(1)).max(1);
    if let Some(after) = after {
        page.from = page.from.max(after.saturating_add(step));
    }
    if question.fill {
        let first = start(page.from, step);
        let length = step.saturating_mul(Micros::try_from(page.limit).unwrap_or(Micros::MAX));
        page.to = page.to.min(first.saturating_add(length));
    }
    let each = asked(series, async |one| state.store.buckets(one, &page, step).await).await?;
    // What is beyond the last bucket of a series that has more is not known yet.
    let cut = each.iter().any(|of_one| of_one.len() == page.limit);
    let mut together: BTreeMap<Timestamp, Bucket> = BTreeMap::new();
    for bucket in each.into_iter().flatten() {
        together
            .entry(bucket.start)
            .and_modify(|all| *all = all.join(&bucket))
            .or_insert(bucket);
    }
    let value = |bucket: &Bucket| aggregation.of(bucket);
    if !question.fill {
        let cut = cut || together.len() > page.limit;
        let rows: Vec<_> = together
            .iter()
            .take(page.limit)
            .map(|(start, all)| (*start, Some(value(all))))
            .collect();
        let more = rows.last().map(|(start, _)| *start).filter(|_| cut);
        return Ok(Found { rows, more });
    }
    let mut rows = Vec::new();
    let mut at = start(page.from, step);
    while at < page.to {
        rows.push((at, together.get(&at).map(value)));
        at = at.saturating_add(step);
    }
    let more = rows.last().map(|(start, _)| *start).filter(|_| at < question.to);
    Ok(Found { rows, more })
}

/// Asks the same of each series, some at a time.
async fn asked<T>(
    series: &[SeriesId],
    ask: impl AsyncFn(SeriesId) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let answers = stream::iter(series).map(|one| ask(*one)).buffered(AT_ONCE);
    answers.try_collect().await
}

/// The start of the bucket that holds `time`.
fn start(time: Timestamp, step: Micros) -> Timestamp {
    time.saturating_sub(time.0.rem_euclid(step))
}

impl Checked {
    fn page(&self) -> Page {
        Page {
            from: self.from,
            to: self.to,
            limit: self.limit,
            newest_first: false,
        }
    }
}
