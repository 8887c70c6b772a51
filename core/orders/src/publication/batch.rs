//! Cutting entries into requests that the bus accepts.

use std::ops::Range;

/// The most entries of one request (EventBridge API reference, `PutEvents`).
const MAX_ENTRIES: usize = 10;

/// Splits `sizes` into consecutive ranges within the limits on the number of entries and on `max_bytes`. An entry that is
/// too large by itself gets its own request.
pub(super) fn requests(sizes: &[usize], max_bytes: usize) -> Vec<Range<usize>> {
    let mut requests = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, size) in sizes.iter().enumerate() {
        let full = index - start == MAX_ENTRIES || bytes + size > max_bytes;
        if full && index > start {
            requests.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    if start < sizes.len() {
        requests.push(start..sizes.len());
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_ten_entries_at_most() {
        assert_eq!(requests(&[1; 25], 100), [0..10, 10..20, 20..25]);
    }

    #[test]
    fn a_request_stays_within_the_bytes() {
        assert_eq!(requests(&[60, 40, 1, 99, 2], 100), [0..2, 2..4, 4..5]);
    }

    #[test]
    fn an_entry_that_is_too_large_gets_its_own_request() {
        assert_eq!(requests(&[10, 500, 10], 100), [0..1, 1..2, 2..3]);
        assert_eq!(requests(&[500, 10], 100), [0..1, 1..2]);
    }

    #[test]
    fn no_entries_need_no_request() {
        assert!(requests(&[], 100).is_empty());
    }
}
