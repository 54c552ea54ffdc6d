//! Durations as mesh configuration writes them: the text form of Go (`1h2m3.5s`), which includes
//! the JSON form of protocol buffers (`3.500s`).
//!
//! Grammar: [`time.ParseDuration`](https://pkg.go.dev/time#ParseDuration). Negative values have no
//! meaning anywhere in the mesh and are refused with an error of their own.

use std::time::Duration;

use thiserror::Error;

/// Go keeps durations in a signed 64-bit count of nanoseconds; longer ones are refused, so that
/// every accepted text means the same to every program of the mesh.
pub const MAX: Duration = Duration::from_nanos(i64::MAX as u64);

/// Why a text is no usable duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// No number, or nothing at all.
    #[error("{0:?} is not a duration such as 1.5s, 300ms or 1h30m")]
    Malformed(String),
    /// A number without a unit, other than a bare zero.
    #[error("duration {0:?} lacks a unit (ns, us, ms, s, m or h)")]
    MissingUnit(String),
    /// A unit that is not one of ns, us, ms, s, m, h.
    #[error("duration {text:?} has the unknown unit {unit:?} (ns, us, ms, s, m or h)")]
    UnknownUnit { text: String, unit: String },
    /// Below zero.
    #[error("duration {0:?} is negative")]
    Negative(String),
    /// Above [`MAX`] (about 292 years).
    #[error("duration {0:?} is longer than 292 years")]
    TooLong(String),
}

/// Parses a duration such as `1.5s`, `300ms`, `1h30m` or `0`.
///
/// # Errors
/// Anything outside of Go's grammar, negative values, values above [`MAX`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(DurationError::Malformed(text.to_owned()));
    }
    let mut rest = unsigned;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (term, tail) = parse_term(text, rest)?;
        nanos = nanos.saturating_add(term);
        if nanos > MAX.as_nanos() {
            return Err(DurationError::TooLong(text.to_owned()));
        }
        rest = tail;
    }
    if negative && nanos > 0 {
        return Err(DurationError::Negative(text.to_owned()));
    }
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| DurationError::TooLong(text.to_owned()))
}

/// Reads one `number unit` term and returns its nanoseconds and what follows.
fn parse_term<'a>(whole: &str, rest: &'a str) -> Result<(u128, &'a str), DurationError> {
    let malformed = || DurationError::Malformed(whole.to_owned());
    let too_long = || DurationError::TooLong(whole.to_owned());
    let (integer, rest) = split_while(rest, |c| c.is_ascii_digit());
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(tail) => split_while(tail, |c| c.is_ascii_digit()),
        None => ("", rest),
    };
    if integer.is_empty() && fraction.is_empty() {
        return Err(malformed());
    }
    let (unit, tail) = split_while(rest, |c| c != '.' && !c.is_ascii_digit());
    let scale = unit_nanos(whole, unit)?;
    let integer: u128 = match integer {
        "" => 0,
        digits => digits.parse().map_err(|_| too_long())?,
    };
    let nanos = integer
        .checked_mul(scale)
        .and_then(|nanos| nanos.checked_add(fraction_nanos(fraction, scale)))
        .ok_or_else(too_long)?;
    Ok((nanos, tail))
}

/// What `0.<fraction>` of a unit is in nanoseconds. Digits after the 18th, and what is below a
/// nanosecond, are cut off.
fn fraction_nanos(fraction: &str, scale: u128) -> u128 {
    let (value, power) = fraction
        .bytes()
        .take(18)
        .fold((0_u128, 1_u128), |(value, power), digit| {
            (value * 10 + u128::from(digit - b'0'), power * 10)
        });
    value * scale / power
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !keep(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn unit_nanos(whole: &str, unit: &str) -> Result<u128, DurationError> {
    Ok(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(DurationError::MissingUnit(whole.to_owned())),
        other => {
            return Err(DurationError::UnknownUnit {
                text: whole.to_owned(),
                unit: other.to_owned(),
            });
        }
    })
}

/// Prints as Go does: `1h2m3.5s`, `1.5ms`, `0s`.
#[must_use]
pub fn to_go(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, m) => format!("{m}m{seconds}s"),
                (h, m) => format!("{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// Prints in the JSON form of `google.protobuf.Duration`: seconds with 0, 3, 6 or 9 fraction
/// digits and the unit `s`.
#[must_use]
pub fn to_proto(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos == 0 {
        format!("{seconds}s")
    } else if nanos % 1_000_000 == 0 {
        format!("{seconds}.{:03}s", nanos / 1_000_000)
    } else if nanos % 1_000 == 0 {
        format!("{seconds}.{:06}s", nanos / 1_000)
    } else {
        format!("{seconds}.{nanos:09}s")
    }
}

/// `value / unit` with as many fraction digits as it needs; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Duration, DurationError>) {
        assert_eq!(parse(text), expected, "{text}");
    }

    #[test]
    fn accepts_what_go_accepts() {
        let ms = Duration::from_millis;
        check("0", Ok(Duration::ZERO));
        check("-0", Ok(Duration::ZERO));
        check("-0s", Ok(Duration::ZERO));
        check("+5s", Ok(ms(5_000)));
        check("5s", Ok(ms(5_000)));
        check("1.5s", Ok(ms(1_500)));
        check(".5s", Ok(ms(500)));
        check("5.s", Ok(ms(5_000)));
        check("300ms", Ok(ms(300)));
        check("1h30m", Ok(ms(5_400_000)));
        check("1.5h", Ok(ms(5_400_000)));
        check("0.25m", Ok(ms(15_000)));
        check("1h2m3.5s", Ok(ms(3_723_500)));
        check("1us", Ok(Duration::from_nanos(1_000)));
        check("1\u{b5}s", Ok(Duration::from_nanos(1_000)));
        check("1\u{3bc}s", Ok(Duration::from_nanos(1_000)));
        check("1.9ns", Ok(Duration::from_nanos(1)));
        check("9223372036854775807ns", Ok(MAX));
        check(
            "0.3333333333333333333h",
            Ok(Duration::from_nanos(1_199_999_999_999)),
        );
    }

    #[test]
    fn refuses_with_a_reason() {
        let text = |t: &str| t.to_owned();
        check("", Err(DurationError::Malformed(text(""))));
        check("-", Err(DurationError::Malformed(text("-"))));
        check("s", Err(DurationError::Malformed(text("s"))));
        check(".s", Err(DurationError::Malformed(text(".s"))));
        check(
            "5 s",
            Err(DurationError::UnknownUnit {
                text: text("5 s"),
                unit: text(" s"),
            }),
        );
        check("3", Err(DurationError::MissingUnit(text("3"))));
        check(
            "3d",
            Err(DurationError::UnknownUnit {
                text: text("3d"),
                unit: text("d"),
            }),
        );
        check("-1s", Err(DurationError::Negative(text("-1s"))));
        check(
            "9223372036854775808ns",
            Err(DurationError::TooLong(text("9223372036854775808ns"))),
        );
        check("3000000h", Err(DurationError::TooLong(text("3000000h"))));
        let huge = format!("{}h", "9".repeat(60));
        check(&huge, Err(DurationError::TooLong(huge.clone())));
    }

    #[test]
    fn prints_as_go_and_as_proto() {
        for (nanos, go, proto) in [
            (0, "0s", "0s"),
            (1, "1ns", "0.000000001s"),
            (1_500, "1.5\u{b5}s", "0.000001500s"),
            (1_500_000, "1.5ms", "0.001500s"),
            (10_000_000, "10ms", "0.010s"),
            (1_000_000_000, "1s", "1s"),
            (60_000_000_000, "1m0s", "60s"),
            (3_723_500_000_000, "1h2m3.5s", "3723.500s"),
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(to_go(duration), go);
            assert_eq!(to_proto(duration), proto);
        }
    }

    proptest! {
        #[test]
        fn parse_and_print_are_inverse(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&to_go(duration)), Ok(duration));
            prop_assert_eq!(parse(&to_proto(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            let _ = parse(&text).map(to_go);
        }
    }
}
