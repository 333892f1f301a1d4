//! How figures, times and names are written for people.
//!
//! Invariants: what [`line`] returns is one line without control characters or marks that change the direction of text;
//! whatever was in a name is still to be seen, as an escape. Nothing here fails.

use crate::domain::{Micros, Timestamp};

/// One line of at most `most` characters; what is cut is shown by an ellipsis.
pub fn line(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut count = 0;
    for c in text.chars() {
        let (escape, length) = match c {
            '\n' => (Some("\\n".to_owned()), 2),
            '\r' => (Some("\\r".to_owned()), 2),
            '\t' => (Some(" ".to_owned()), 1),
            c if is_deceptive(c) => {
                let escape = c.escape_unicode().to_string();
                let length = escape.len();
                (Some(escape), length)
            }
            _ => (None, 1),
        };
        if count + length > most {
            while count >= most && shown.pop().is_some() {
                count -= 1;
            }
            shown.push('…');
            return shown;
        }
        count += length;
        match escape {
            Some(escape) => shown += &escape,
            None => shown.push(c),
        }
    }
    shown
}

/// Control characters, and those that cannot be seen but change how others are.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// With five significant digits, without zeros that say nothing.
pub fn figure(value: f64) -> String {
    digits(value, 5)
}

/// As [`figure`], with as many digits as it takes to tell it from `other`, if it is another number.
pub fn figure_beside(value: f64, other: f64) -> String {
    (5..17)
        .find(|count| value == other || digits(value, *count) != digits(other, *count))
        .map_or_else(|| value.to_string(), |count| digits(value, count))
}

/// With as many significant digits, without zeros that say nothing.
pub(super) fn digits(value: f64, count: usize) -> String {
    if !value.is_finite() {
        return match value {
            value if value.is_nan() => "not a number".to_owned(),
            value if value > 0.0 => "∞".to_owned(),
            _ => "−∞".to_owned(),
        };
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    // Rounding may make it a digit longer.
    let scientific = format!("{value:.*e}", count - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    if !(1e-4..1e9).contains(&size) {
        return format!("{}e{exponent}", trim(mantissa));
    }
    let exponent = exponent.parse::<i32>().unwrap_or_default();
    let decimals = usize::try_from(count as i32 - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}")).to_owned()
}

fn trim(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

/// With its unit, if it has one: a percent sign and degrees of angle stand close, all else after a space.
pub fn measure(figure: &str, unit: Option<&str>) -> String {
    match unit.map(|unit| line(unit, 24)).as_deref() {
        None | Some("") => figure.to_owned(),
        Some(unit @ ("%" | "°")) => format!("{figure}{unit}"),
        Some(unit) => format!("{figure} {unit}"),
    }
}

/// `2026-05-01 08:00:05 UTC`.
pub fn time(time: Timestamp) -> String {
    match time.to_utc() {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => time.to_string(),
    }
}

/// `2026-05-01`, in UTC.
pub fn day(time: Timestamp) -> String {
    time.to_utc()
        .map_or_else(|| time.to_string(), |time| time.format("%Y-%m-%d").to_string())
}

/// `08:00`, in UTC.
pub fn clock(time: Timestamp) -> String {
    time.to_utc()
        .map_or_else(String::new, |time| time.format("%H:%M").to_string())
}

/// The two largest units: `45 s`, `12 min`, `4 h 5 min`, `3 d 2 h`. What is negative is nothing.
pub fn span(micros: Micros) -> String {
    let seconds = micros.max(0) / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let both = |large: i64, unit: &str, small: i64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {smaller}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, 1..5) => both(minutes, "min", seconds % 60, "s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => both(hours, "h", minutes, "min"),
        _ => both(days, "d", hours, "h"),
    }
}

/// `1 alert`, `12 alerts`.
pub fn count(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", grouped(count)),
    }
}

/// `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_and_shows_what_was_hidden() {
        for (text, shown) in [
            ("boiler 7/α", "boiler 7/α"),
            ("a\r\nBcc: a@b", "a\\r\\nBcc: a@b"),
            ("x\u{202e}y\u{2066}", "x\\u{202e}y\\u{2066}"),
            ("\0\u{85}\u{feff}", "\\u{0}\\u{85}\\u{feff}"),
            ("tab\there", "tab here"),
            ("\u{2028}", "\\u{2028}"),
        ] {
            assert_eq!(line(text, 100), shown);
        }
        assert_eq!(line("12345", 5), "12345");
        assert_eq!(line("123456", 5), "1234…");
        assert_eq!(line("1234\u{202e}", 5), "1234…");
        assert_eq!(line(&"ä".repeat(200), 10).chars().count(), 10);
        assert_eq!(line("x", 0), "…");
    }

    #[test]
    fn figures_say_what_is_known_and_no_more() {
        for (value, shown) in [
            (93.1, "93.1"),
            (93.100_000_000_01, "93.1"),
            (80.0, "80"),
            (-0.5, "-0.5"),
            (0.0, "0"),
            (123_456.7, "123457"),
            (99_999.96, "100000"),
            (0.001_234_56, "0.0012346"),
            (1.5e12, "1.5e12"),
            (2e-9, "2e-9"),
            (f64::MAX, "1.7977e308"),
            (f64::NAN, "not a number"),
            (f64::NEG_INFINITY, "−∞"),
        ] {
            assert_eq!(figure(value), shown);
        }
        assert_eq!(figure_beside(80.000_04, 80.0), "80.00004");
        assert_eq!(figure_beside(80.0, 80.0), "80");
        assert_eq!(figure_beside(1.0, 1.0 + f64::EPSILON), "1");
    }

    #[test]
    fn units_stand_where_people_put_them() {
        assert_eq!(measure("93.1", Some("°C")), "93.1 °C");
        assert_eq!(measure("93.1", Some("%")), "93.1%");
        assert_eq!(measure("93.1", None), "93.1");
        assert_eq!(measure("1", Some("\r\nBcc: a@b")), "1 \\r\\nBcc: a@b");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (value, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(value), shown);
        }
        assert_eq!(
            (count(1, "alert"), count(1_000, "alert")),
            ("1 alert".to_owned(), "1,000 alerts".to_owned())
        );
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, shown) in [
            (-5, "0 s"),
            (45, "45 s"),
            (60, "1 min"),
            (95, "1 min 35 s"),
            (12 * 60 + 30, "12 min"),
            (3_600, "1 h"),
            (4 * 3_600 + 300, "4 h 5 min"),
            (86_400 * 3 + 7_200, "3 d 2 h"),
        ] {
            assert_eq!(span(seconds * 1_000_000), shown);
        }
    }
}
