//! JSON numbers, read exactly from their text.

/// A JSON number taken apart: (−) digits × 10^power, the digits without zeros at either end.
///
/// The value counts, not the spelling: `20`, `20.00` and `2e1` are the same number. No memory is allocated for a large
/// exponent.
pub(super) struct Decimal {
    pub negative: bool,
    /// Empty for zero.
    pub digits: String,
    pub power: i64,
}

impl Decimal {
    /// Reads a `number` of RFC 8259.
    pub fn read(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if all_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        if !all_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let power = exponent.saturating_add(length(&all) - length(digits) - length(fraction));
        Some(Self { negative, digits: digits.trim_start_matches('0').to_owned(), power })
    }

    /// The absolute value in units of 10^−`exponent`.
    pub fn in_units(&self, exponent: u32) -> Result<u64, NoWholeUnits> {
        if self.digits.is_empty() {
            return Ok(0);
        }
        let power = self.power.saturating_add(i64::from(exponent));
        if power < 0 {
            return Err(NoWholeUnits::TooFine);
        }
        let scale = u32::try_from(power).ok().and_then(|power| 10_u64.checked_pow(power));
        let scaled = scale.and_then(|scale| self.digits.parse::<u64>().ok()?.checked_mul(scale));
        scaled.ok_or(NoWholeUnits::TooLarge)
    }
}

/// Why a number is not a whole number of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoWholeUnits {
    TooFine,
    TooLarge,
}

/// Reads what follows the `e`. An exponent that does not fit saturates.
fn read_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !all_digits(digits) {
        return None;
    }
    let size = digits.parse().unwrap_or(i64::MAX);
    Some(if negative { -size } else { size })
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str, exponent: u32) -> Result<u64, NoWholeUnits> {
        Decimal::read(text).unwrap().in_units(exponent)
    }

    #[test]
    fn an_integer_is_an_integer_however_it_is_written() {
        for text in ["20", "20.0", "2e1", "2E+1", "200e-1", "0.2e2", "20000000000e-9", "2000.000e-2"] {
            assert_eq!(units(text, 0), Ok(20), "{text}");
        }
        for text in ["0", "-0", "0.0", "0e9", "0e99999999999999999999", "0e-99999999999999999999"] {
            assert_eq!(units(text, 0), Ok(0), "{text}");
        }
        assert_eq!(units("18446744073709551615", 0), Ok(u64::MAX));
    }

    #[test]
    fn a_fraction_and_a_number_that_is_too_large_are_different_errors_at_any_exponent() {
        for text in ["1.5", "1e-1", "1e-400", "1e-99999999999999999999", "0.000001"] {
            assert_eq!(units(text, 0), Err(NoWholeUnits::TooFine), "{text}");
        }
        for text in ["18446744073709551616", "1e20", "1e400", "1e99999999999999999999", &"9".repeat(60_000)] {
            assert_eq!(units(text, 0), Err(NoWholeUnits::TooLarge), "{text}");
        }
        assert_eq!((units("1.5", 1), units("1.55", 1)), (Ok(15), Err(NoWholeUnits::TooFine)));
    }
}
