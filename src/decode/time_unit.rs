//! Times as payloads give them: text, or a number whose unit its size tells, or the settings.

use serde::{Deserialize, Serialize};

use super::scalar::Scalar;
use crate::domain::{TimeError, Timestamp};

/// What a number means as a time. Text that is no number is read alike in any unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Its size tells.
    #[default]
    Auto,
    S,
    Ms,
    Us,
    Ns,
}

/// The time that a value is, if it is not null.
pub(super) fn told_by_size(scalar: &Scalar<'_>) -> Result<Option<Timestamp>, TimeError> {
    match scalar {
        Scalar::Null => Ok(None),
        Scalar::Integer(number) => Timestamp::from_integer(*number).map(Some),
        Scalar::Float(number) => Timestamp::from_number(*number).map(Some),
        Scalar::Text(text) => Timestamp::from_text(text).map(Some),
        _ => Err(TimeError::NotATime),
    }
}

impl TimeUnit {
    /// The time that a value is in this unit, if it is not null.
    pub(super) fn read(self, scalar: &Scalar<'_>) -> Result<Option<Timestamp>, TimeError> {
        let text = match scalar {
            Scalar::Text(text) => text.trim(),
            _ => "",
        };
        let number = match scalar {
            _ if self == TimeUnit::Auto => return told_by_size(scalar),
            Scalar::Integer(number) => Ok(*number),
            Scalar::Float(number) => Err(*number),
            Scalar::Text(_) => match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(number), _) => Ok(number),
                (_, Ok(number)) => Err(number),
                _ => return told_by_size(scalar),
            },
            _ => return told_by_size(scalar),
        };
        let micros = match number {
            Ok(number) => self.of_integer(number),
            Err(number) => self.of_number(number),
        };
        micros
            .map(|micros| Some(Timestamp(micros)))
            .ok_or(TimeError::NotATime)
    }

    fn of_integer(self, number: i64) -> Option<i64> {
        match self {
            TimeUnit::S => number.checked_mul(1_000_000),
            TimeUnit::Ms => number.checked_mul(1_000),
            TimeUnit::Us | TimeUnit::Auto => Some(number),
            TimeUnit::Ns => Some(number.div_euclid(1_000)),
        }
    }

    fn of_number(self, number: f64) -> Option<i64> {
        let micros = match self {
            TimeUnit::S => number * 1e6,
            TimeUnit::Ms => number * 1e3,
            TimeUnit::Us | TimeUnit::Auto => number,
            TimeUnit::Ns => number / 1e3,
        };
        // Also refuses what is not a number.
        (micros.abs() < 9.2e18).then(|| micros.round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn read(unit: TimeUnit, scalar: Scalar<'_>) -> Option<i64> {
        unit.read(&scalar).ok().flatten().map(|time| time.0)
    }

    #[test]
    fn a_unit_beats_the_size_of_a_number() {
        // What the size would take for seconds.
        let small = || Scalar::Integer(86_400);
        assert_eq!(read(TimeUnit::Auto, small()), Some(86_400_000_000));
        assert_eq!(read(TimeUnit::S, small()), Some(86_400_000_000));
        assert_eq!(read(TimeUnit::Ms, small()), Some(86_400_000));
        assert_eq!(read(TimeUnit::Us, small()), Some(86_400));
        assert_eq!(read(TimeUnit::Ns, small()), Some(86));
        assert_eq!(read(TimeUnit::Ns, Scalar::Integer(-1)), Some(-1));
        assert_eq!(read(TimeUnit::S, Scalar::Float(1.5)), Some(1_500_000));
    }

    #[test]
    fn text_is_a_number_of_the_unit_or_a_date() {
        let text = |text| Scalar::Text(Cow::Borrowed(text));
        assert_eq!(read(TimeUnit::Ms, text(" 86400 ")), Some(86_400_000));
        assert_eq!(read(TimeUnit::S, text("0.5")), Some(500_000));
        assert_eq!(
            read(TimeUnit::Ms, text("1970-01-02 00:00:00")),
            Some(86_400_000_000)
        );
        for bad in ["inf", "NaN", "1e300", "soon", ""] {
            assert_eq!(TimeUnit::S.read(&text(bad)), Err(TimeError::NotATime), "{bad}");
        }
    }

    #[test]
    fn what_is_too_large_is_no_time() {
        for scalar in [
            Scalar::Integer(i64::MAX),
            Scalar::Integer(i64::MIN),
            Scalar::Float(1e13),
            Scalar::HugeNumber,
        ] {
            assert_eq!(TimeUnit::S.read(&scalar), Err(TimeError::NotATime));
        }
        assert_eq!(TimeUnit::S.read(&Scalar::Null), Ok(None));
    }
}
