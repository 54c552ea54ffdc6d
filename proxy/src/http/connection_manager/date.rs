//! The `Date` of responses, formatted once per second and thread.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

thread_local! {
    static CACHE: RefCell<(Duration, String)> = const { RefCell::new((Duration::ZERO, String::new())) };
}

/// Gives `use_it` the text for a moment, RFC 9110 section 5.6.7.
pub fn with_date<T>(now: SystemTime, use_it: impl FnOnce(&[u8]) -> T) -> T {
    let since_epoch = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let second = Duration::from_secs(since_epoch.as_secs());
    CACHE.with_borrow_mut(|(cached, text)| {
        if *cached != second || text.is_empty() {
            *text = OffsetDateTime::from(SystemTime::UNIX_EPOCH + second)
                .format(FORMAT)
                .unwrap_or_default();
            *cached = second;
        }
        use_it(text.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_fixed_form() {
        let text = |seconds| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            with_date(now, |text| String::from_utf8_lossy(text).into_owned())
        };
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
