//! Dates as HTTP writes them: `Sun, 06 Nov 1994 08:49:37 GMT`, and its two obsolete forms, which
//! RFC 9110 §5.6.7 asks a recipient to read.

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads a date of HTTP as milliseconds since the epoch; none for what is no date, or before it.
///
/// ```
/// use trunkline_patterns::retry::http_date_ms;
/// assert_eq!(http_date_ms("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
/// assert_eq!(http_date_ms("tomorrow"), None);
/// ```
pub fn http_date_ms(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text
        .split([' ', ','])
        .filter(|part| !part.is_empty())
        .collect();
    let (day, month, year, time) = match parts[..] {
        // asctime: `Sun Nov  6 08:49:37 1994`.
        [_, month, day, time, year] if time.contains(':') => (day, month, year, time),
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        // RFC 850: `Sunday, 06-Nov-94 08:49:37 GMT`.
        [_, date, time, "GMT"] => {
            let mut date = date.splitn(3, '-');
            (date.next()?, date.next()?, date.next()?, time)
        }
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year = match (year.len(), number(year)?) {
        // Two digits: the last year with these that is not far in the future.
        (2, year) if year < 70 => year + 2_000,
        (2, year) => year + 1_900,
        (_, year) => year,
    };
    let day = number(day)?;
    let mut time = time.splitn(3, ':');
    let mut next = || number(time.next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    let is_date = (1_970..=9_999).contains(&year)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let seconds = (days_before(year, month) + day - 1) * 86_400 + hour * 3_600 + minute * 60;
    is_date.then_some((seconds + second) * 1_000)
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.len() <= 4;
    let is_number = is_number && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to the first of a month.
fn days_before(year: u64, month: u64) -> u64 {
    let past = year.saturating_sub(1_970);
    let before = |year: u64| year / 4 - year / 100 + year / 400;
    let leaps = before(year.max(1_970) - 1) - before(1_969);
    past * 365 + leaps + (1..month).map(|month| days_in(year, month)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(http_date_ms(text), Some(784_111_777_000), "{text}");
        }
        let epoch = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(http_date_ms(epoch), Some(0));
        let leap = "Thu, 29 Feb 2024 23:59:59 GMT";
        assert_eq!(http_date_ms(leap), Some(1_709_251_199_000));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Thu, 30 Feb 2024 00:00:00 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
            "Sun, 06 Nov 1994 -1:49:37 GMT",
        ] {
            assert_eq!(http_date_ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_days_of_the_calendar_follow_each_other(year in 1_970u64..9_998, month in 1u64..=12) {
            let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            let days = days_before(next_year, next) - days_before(year, month);
            prop_assert_eq!(days, days_in(year, month));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            http_date_ms(&text);
        }
    }
}
