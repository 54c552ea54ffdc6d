//! `%START_TIME(format)%`: the strftime patterns that Envoy takes.

use std::time::SystemTime;

use time::{Month, OffsetDateTime};

use crate::http::codec::h1::write_decimal;

/// A compiled time pattern; the default is `2024-05-06T07:08:09.123Z`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeFormat {
    /// `None`: the default.
    parts: Option<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Year,
    YearOfCentury,
    Month,
    MonthName {
        long: bool,
    },
    Day,
    DayPadded,
    DayOfYear,
    WeekdayName {
        long: bool,
    },
    Hour,
    Minute,
    Second,
    /// Digits of the fraction of a second.
    Fraction(u8),
    /// Seconds since 1970.
    Epoch,
    Zone,
    Offset,
}

impl TimeFormat {
    /// # Errors
    /// The pattern letter that is not known.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Ok(Self::default());
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                literal.push(c);
                continue;
            }
            let mut new = Vec::new();
            directive(&mut chars, &mut new, &mut literal)?;
            if !new.is_empty() {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                }
                parts.extend(new);
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self { parts: Some(parts) })
    }

    pub fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        let time = OffsetDateTime::from(time);
        match &self.parts {
            None => write_default(time, out),
            Some(parts) => {
                for part in parts {
                    write_part(part, time, out);
                }
            }
        }
    }
}

fn directive(
    chars: &mut std::str::Chars<'_>,
    parts: &mut Vec<Part>,
    literal: &mut String,
) -> Result<(), String> {
    let unknown =
        |c: Option<char>| format!("time pattern %{}", c.map_or(String::new(), String::from));
    let dash = || Part::Literal("-".into());
    let colon = || Part::Literal(":".into());
    let c = chars.next();
    match c {
        Some('%') => literal.push('%'),
        Some('Y') => parts.push(Part::Year),
        Some('y') => parts.push(Part::YearOfCentury),
        Some('m') => parts.push(Part::Month),
        Some('b' | 'h') => parts.push(Part::MonthName { long: false }),
        Some('B') => parts.push(Part::MonthName { long: true }),
        Some('d') => parts.push(Part::Day),
        Some('e') => parts.push(Part::DayPadded),
        Some('j') => parts.push(Part::DayOfYear),
        Some('a') => parts.push(Part::WeekdayName { long: false }),
        Some('A') => parts.push(Part::WeekdayName { long: true }),
        Some('H') => parts.push(Part::Hour),
        Some('M') => parts.push(Part::Minute),
        Some('S') => parts.push(Part::Second),
        Some('s') => parts.push(Part::Epoch),
        Some('f') => parts.push(Part::Fraction(9)),
        Some('Z') => parts.push(Part::Zone),
        Some('z') => parts.push(Part::Offset),
        Some('F') => parts.extend([Part::Year, dash(), Part::Month, dash(), Part::Day]),
        Some('T') => parts.extend([Part::Hour, colon(), Part::Minute, colon(), Part::Second]),
        Some(digit @ '1'..='9') => match chars.next() {
            Some('f') => parts.push(Part::Fraction(digits(digit))),
            other => return Err(unknown(other)),
        },
        Some('E') => match (chars.next(), chars.next()) {
            (Some(digit @ '0'..='9'), Some('S')) => {
                parts.push(Part::Second);
                if digit != '0' {
                    parts.push(Part::Literal(".".into()));
                    parts.push(Part::Fraction(digits(digit)));
                }
            }
            (other, _) => return Err(unknown(other)),
        },
        other => return Err(unknown(other)),
    }
    Ok(())
}

fn digits(c: char) -> u8 {
    c.to_digit(10)
        .and_then(|d| u8::try_from(d).ok())
        .unwrap_or(9)
}

fn write_default(time: OffsetDateTime, out: &mut Vec<u8>) {
    padded(time.year().unsigned_abs().into(), 4, b'0', out);
    out.push(b'-');
    padded(u8::from(time.month()).into(), 2, b'0', out);
    out.push(b'-');
    padded(time.day().into(), 2, b'0', out);
    out.push(b'T');
    for (value, after) in [
        (time.hour(), b':'),
        (time.minute(), b':'),
        (time.second(), b'.'),
    ] {
        padded(value.into(), 2, b'0', out);
        out.push(after);
    }
    padded(time.millisecond().into(), 3, b'0', out);
    out.push(b'Z');
}

fn write_part(part: &Part, time: OffsetDateTime, out: &mut Vec<u8>) {
    match part {
        Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
        Part::Year => padded(time.year().unsigned_abs().into(), 4, b'0', out),
        Part::YearOfCentury => padded(u64::from(time.year().unsigned_abs() % 100), 2, b'0', out),
        Part::Month => padded(u8::from(time.month()).into(), 2, b'0', out),
        Part::MonthName { long } => name(month(time.month()), *long, out),
        Part::Day => padded(time.day().into(), 2, b'0', out),
        Part::DayPadded => padded(time.day().into(), 2, b' ', out),
        Part::DayOfYear => padded(time.ordinal().into(), 3, b'0', out),
        Part::WeekdayName { long } => name(&time.weekday().to_string(), *long, out),
        Part::Hour => padded(time.hour().into(), 2, b'0', out),
        Part::Minute => padded(time.minute().into(), 2, b'0', out),
        Part::Second => padded(time.second().into(), 2, b'0', out),
        Part::Fraction(digits) => {
            let cut = 10u32.pow(9 - u32::from(*digits).min(9));
            padded(
                u64::from(time.nanosecond() / cut),
                usize::from(*digits),
                b'0',
                out,
            );
        }
        Part::Epoch => write_decimal(u64::try_from(time.unix_timestamp()).unwrap_or(0), out),
        Part::Zone => out.extend_from_slice(b"UTC"),
        Part::Offset => out.extend_from_slice(b"+0000"),
    }
}

fn month(month: Month) -> &'static str {
    match month {
        Month::January => "January",
        Month::February => "February",
        Month::March => "March",
        Month::April => "April",
        Month::May => "May",
        Month::June => "June",
        Month::July => "July",
        Month::August => "August",
        Month::September => "September",
        Month::October => "October",
        Month::November => "November",
        Month::December => "December",
    }
}

fn name(text: &str, long: bool, out: &mut Vec<u8>) {
    let text = if long {
        text
    } else {
        text.get(..3).unwrap_or(text)
    };
    out.extend_from_slice(text.as_bytes());
}

/// A number of at least `width` digits.
fn padded(value: u64, width: usize, fill: u8, out: &mut Vec<u8>) {
    let mut digits = 1;
    let mut rest = value;
    while rest >= 10 {
        rest /= 10;
        digits += 1;
    }
    out.resize(out.len() + width.saturating_sub(digits), fill);
    write_decimal(value, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[track_caller]
    fn check(pattern: &str, expected: &str) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_715_065_689_012_345_678);
        let mut out = Vec::new();
        TimeFormat::parse(pattern)
            .expect("a valid pattern")
            .write(time, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn patterns() {
        check("", "2024-05-07T07:08:09.012Z");
        check(
            "%Y/%m/%dT%H:%M:%S%z %s",
            "2024/05/07T07:08:09+0000 1715065689",
        );
        check("%s.%3f", "1715065689.012");
        check("%F %T.%9f", "2024-05-07 07:08:09.012345678");
        check("%E6S|%E0S", "09.012345|09");
        check("%a, %e %B %y %j %Z %%", "Tue,  7 May 24 128 UTC %");
        assert!(TimeFormat::parse("%Q").is_err());
        assert!(TimeFormat::parse("%").is_err());
    }
}
