//! The binary form of COPY: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".

use sqlx::postgres::PgConnection;

use super::fault::Fault;
use super::statement::number;
use super::time::to_wire;
use crate::storage::judgement::{Judged, Judgement};

const COPY: &str = "COPY readings (time, value, seq, series_id, flags) FROM STDIN (FORMAT binary)";
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &[0xff, 0xff];
/// Bytes of a row: the number of its columns, and each with its length.
const ROW: usize = 2 + 3 * 12 + 8 + 6;
/// Rows that are sent at once.
const CHUNK: usize = 8_192;

/// Copies the first reading of every key into `readings`, in the order of the key.
pub(super) async fn readings(connection: &mut PgConnection, judged: &Judgement) -> Result<(), Fault> {
    let mut copy = connection.copy_in_raw(COPY).await?;
    let mut buffer =
        Vec::with_capacity(SIGNATURE.len() + ROW * CHUNK.min(judged.firsts.len()) + TRAILER.len());
    buffer.extend_from_slice(SIGNATURE);
    for chunk in judged.firsts.chunks(CHUNK) {
        for &at in chunk {
            push(&mut buffer, &judged.rows[at]);
        }
        // A server that refuses a row says so at the end.
        copy.send(buffer.as_slice()).await?;
        buffer.clear();
    }
    copy.send(TRAILER).await?;
    copy.finish().await?;
    Ok(())
}

fn push(buffer: &mut Vec<u8>, row: &Judged) {
    let reading = &row.reading;
    buffer.extend_from_slice(&5_i16.to_be_bytes());
    push_column(buffer, to_wire(reading.time).to_be_bytes());
    push_column(buffer, reading.value.to_be_bytes());
    push_column(buffer, row.seq.0.to_be_bytes());
    push_column(buffer, number(reading.series.0).to_be_bytes());
    push_column(buffer, i16::from(reading.flags.0).to_be_bytes());
}

fn push_column<const N: usize>(buffer: &mut Vec<u8>, bytes: [u8; N]) {
    buffer.extend_from_slice(&(N as i32).to_be_bytes());
    buffer.extend_from_slice(&bytes);
}
