//! Statements over many rows.
//!
//! A statement costs tens of microseconds however small it is, so rows go in by the thousand. The sizes are few and
//! fixed, so that every text is prepared once and then reused: a list is cut into the largest size that fits, then
//! the next.

use std::sync::{Arc, OnceLock};

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::fault::Fault;

/// `head row, row, … tail`, with up to `most` rows.
pub(super) struct MultiRow {
    head: &'static str,
    row: &'static str,
    /// Parameters a row.
    parameters: usize,
    tail: &'static str,
    most: usize,
    texts: [OnceLock<Arc<str>>; SIZES],
}

/// Each size is an eighth of the one before; the last is 1.
const SIZES: usize = 5;

/// SQLite's own default limit of parameters in a statement.
const MAX_PARAMETERS: usize = 32_766;

impl MultiRow {
    /// `row` is what stands for one row, such as `(?,?,0)`. Bare question marks only: SQLite looks numbered ones up
    /// by name at every binding.
    pub const fn new(head: &'static str, row: &'static str, tail: &'static str, most: usize) -> Self {
        let parameters = count_parameters(row);
        assert!(parameters * most <= MAX_PARAMETERS, "too many parameters");
        Self {
            head,
            row,
            parameters,
            tail,
            most,
            texts: [const { OnceLock::new() }; SIZES],
        }
    }

    /// Executes it over all of `rows`.
    pub async fn execute<T: Sync>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&mut Values, &T) + Send + Sync,
    ) -> Result<(), Fault> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(self.chunk(rest.len()));
            self.execute_chunk(connection, chunk, &bind).await?;
            rest = after;
        }
        Ok(())
    }

    /// How many of `rows` the next statement takes.
    pub fn chunk(&self, rows: usize) -> usize {
        self.size(self.level(rows))
    }

    /// Executes one statement over `rows`, whose length is what [`Self::chunk`] said. Returns how many rows changed.
    pub async fn execute_chunk<T>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&mut Values, &T),
    ) -> Result<u64, Fault> {
        let mut values = Values::with_capacity(rows.len() * self.parameters);
        for row in rows {
            bind(&mut values, row);
        }
        let text = self.text(self.level(rows.len()));
        let done = sqlx::query_with(AssertSqlSafe(text), values.finish()?)
            .execute(connection)
            .await?;
        Ok(done.rows_affected())
    }

    fn size(&self, level: usize) -> usize {
        (self.most >> (3 * level)).max(1)
    }

    fn level(&self, rows: usize) -> usize {
        (0..SIZES)
            .find(|&level| self.size(level) <= rows)
            .unwrap_or(SIZES - 1)
    }

    fn text(&self, level: usize) -> Arc<str> {
        let text = self.texts[level].get_or_init(|| {
            let rows = vec![self.row; self.size(level)].join(",");
            Arc::from(format!("{} {rows} {}", self.head, self.tail))
        });
        Arc::clone(text)
    }
}

const fn count_parameters(row: &str) -> usize {
    let (bytes, mut at, mut count) = (row.as_bytes(), 0, 0);
    while at < bytes.len() {
        if bytes[at] == b'?' {
            count += 1;
        }
        at += 1;
    }
    count
}

/// Values for the parameters of a statement, in order.
pub(super) struct Values {
    arguments: SqliteArguments,
    error: Option<sqlx::error::BoxDynError>,
}

impl Values {
    fn with_capacity(count: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(count, 0);
        Self {
            arguments,
            error: None,
        }
    }

    pub fn add<'q, T>(&mut self, value: T) -> &mut Self
    where
        T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        if let Err(error) = self.arguments.add(value) {
            self.error.get_or_insert(error);
        }
        self
    }

    fn finish(self) -> Result<SqliteArguments, Fault> {
        match self.error {
            None => Ok(self.arguments),
            Some(error) => Err(sqlx::Error::Encode(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_few_sizes() {
        let statement = MultiRow::new("INSERT INTO t VALUES", "(?,?)", "", 4096);
        let mut rest = 9000;
        let mut cuts = Vec::new();
        while rest > 0 {
            let size = statement.chunk(rest);
            assert_eq!(
                statement.text(statement.level(size)).matches("(?,?)").count(),
                size
            );
            cuts.push(size);
            rest -= size;
        }
        assert_eq!(cuts, [4096, 4096, 512, 64, 64, 64, 64, 8, 8, 8, 8, 8]);
        assert_eq!(MultiRow::new("", "(?)", "", 2048).chunk(3), 1);
    }
}
