use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request};
use tokio::time::Instant;

const HEADER: &str = "grpc-timeout";

/// Until when a call is to be answered, in the extensions of its request.
#[derive(Clone, Copy, Debug)]
struct Deadline(Instant);

/// How long a call may take, as its headers say. Source: gRPC over HTTP/2, "Timeout".
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let count: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The time of a call runs from now on.
pub(super) fn start<B>(request: &mut Request<B>) {
    let end = of(request.headers()).and_then(|timeout| Instant::now().checked_add(timeout));
    if let Some(end) = end {
        request.extensions_mut().insert(Deadline(end));
    }
}

/// Says in the headers of a call what is left of its time.
pub(super) fn tell<B>(request: &mut Request<B>) {
    if let Some(Deadline(end)) = request.extensions().get() {
        let left = end.saturating_duration_since(Instant::now());
        if let Ok(left) = HeaderValue::try_from(written(left)) {
            request.headers_mut().insert(HEADER, left);
        }
    }
}

/// In the finest unit of which eight digits will do, and not more than it is.
fn written(time: Duration) -> String {
    let seconds = u128::from(time.as_secs());
    let counts = [
        (time.as_nanos(), 'n'),
        (time.as_micros(), 'u'),
        (time.as_millis(), 'm'),
        (seconds, 'S'),
        (seconds / 60, 'M'),
    ];
    let finest = counts.into_iter().find(|(count, _)| *count < 100_000_000);
    let (count, unit) = finest.unwrap_or((seconds / 3600, 'H'));
    format!("{count}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().unwrap());
        of(&headers)
    }

    #[test]
    fn timeouts_as_grpc_writes_them() {
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        let longest = Duration::from_secs(99_999_999 * 3600);
        assert_eq!(read("99999999H"), Some(longest));
        assert_eq!(read("150m"), Some(Duration::from_millis(150)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        for wrong in ["", "S", "5", "5x", "123456789S", "+5S"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_left_is_written_as_it_is_read() {
        for (text, time) in [
            ("0n", Duration::ZERO),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("100000u", Duration::from_nanos(100_000_999)),
            ("59999999u", Duration::from_micros(59_999_999)),
            ("100000m", Duration::from_secs(100)),
            ("100000S", Duration::from_secs(100_000)),
            ("1666666M", Duration::from_secs(100_000_000)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(written(time), text);
            assert!(read(text).unwrap() <= time, "{text}");
        }
    }
}
