//! Times on the wire: whole microseconds, as PostgreSQL keeps them itself.
//!
//! Invariant: every time that PostgreSQL can hold goes there and back unchanged. What lies outside (before 4714 BC,
//! after AD 294276) goes in as its own `-infinity` and `infinity`, which compare as they should.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

use crate::domain::Timestamp;

/// A [`Timestamp`] as a `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time(pub Timestamp);

/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;
/// What PostgreSQL can hold, in its own microseconds: `MIN_TIMESTAMP` and `END_TIMESTAMP` of its `datatype/timestamp.h`.
const FIRST: i64 = -211_813_488_000_000_000;
const END: i64 = 9_223_371_331_200_000_000;

/// `pg_type.oid` of `timestamptz` and of its array.
const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);

/// Microseconds since 2000-01-01, with infinities.
pub(super) fn to_wire(time: Timestamp) -> i64 {
    match time.0.checked_sub(EPOCH) {
        Some(micros) if micros >= END => i64::MAX,
        Some(micros) if micros >= FIRST => micros,
        _ => i64::MIN,
    }
}

fn from_wire(micros: i64) -> Timestamp {
    match micros {
        i64::MIN => Timestamp::MIN,
        i64::MAX => Timestamp::MAX,
        micros => Timestamp(micros.saturating_add(EPOCH)),
    }
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&to_wire(self.0).to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(Self(from_wire(i64::from_be_bytes(value.as_bytes()?.try_into()?)))),
            PgValueFormat::Text => Err("a time came as text".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_as_it_went() {
        for micros in [0, -1, 1_730_332_800_123_456, EPOCH, FIRST + EPOCH] {
            assert_eq!(from_wire(to_wire(Timestamp(micros))), Timestamp(micros));
        }
        assert_eq!(to_wire(Timestamp(EPOCH)), 0);
        assert_eq!(from_wire(to_wire(Timestamp::MIN)), Timestamp::MIN);
        assert_eq!(from_wire(to_wire(Timestamp::MAX)), Timestamp::MAX);
        assert_eq!(to_wire(Timestamp(FIRST + EPOCH - 1)), i64::MIN);
    }
}
