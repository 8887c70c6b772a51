//! An independent reading of amounts: by moving the point in the text, without arithmetic.

use serde_json::value::RawValue;

/// The amount in units of 10^−`decimals`; `None` if the text is not a JSON number, is negative, has a finer fraction or has more
/// than 30 digits.
pub fn units(text: &str, decimals: i64) -> Option<u128> {
    let json: &RawValue = serde_json::from_str(text).ok()?;
    if json.get() != text || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.chars().all(|digit| digit == '0') {
        return Some(0);
    }
    // What does not fit is so large or so small that the amount is neither.
    let point = exponent.parse::<i64>().ok()?.checked_add(whole.len() as i64)?.checked_add(decimals)?;
    let end = digits.trim_end_matches('0').len() as i64;
    if point < end || point - digits.len() as i64 > 40 {
        return None;
    }
    let padded = format!("{digits:0<width$}", width = point as usize);
    let value = padded[..point as usize].trim_start_matches('0');
    (value.len() <= 30).then(|| value.parse().expect("up to 30 digits"))
}
