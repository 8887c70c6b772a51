//! Cursors of lists: a position, bound to the query that it came from.
//!
//! A cursor gives no access to other lists: the key of the index always comes from the authorized request, and the cursor
//! only says where to continue in it. So it is neither secret nor signed; a forged one skips or repeats orders of the same
//! list. The binding detects mistakes: a cursor of another user, status or kind of list is rejected.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::row::{OpenStatus, SHARDS};
use crate::domain::ids::{OrderId, UserId};
use crate::domain::state::Status;
use service_clock::Timestamp;

/// A text that is not a cursor of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list: omit it to start from the beginning")]
pub struct InvalidCursor;

/// A position in an index: after an order, whether that still exists or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Position {
    pub created_at: Timestamp,
    pub order_id: OrderId,
}

/// The format of cursors. Raised when it changes, so that older cursors are rejected.
const FORM: u8 = 2;
const BINDING: usize = 8;
const POSITION: usize = 8 + 16;

impl Position {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.created_at.timestamp_millis().to_be_bytes());
        bytes.extend_from_slice(self.order_id.0.as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let created_at = Timestamp::from_millis(i64::from_be_bytes(take(bytes)?))?;
        let order_id = OrderId(Uuid::from_bytes(take(bytes)?));
        Some(Self { created_at, order_id })
    }
}

/// Cursors of a user's orders.
pub(super) struct UserCursor<'a> {
    pub user_id: &'a UserId,
    pub status: Option<Status>,
}

impl UserCursor<'_> {
    pub fn write(&self, position: Position) -> String {
        seal(self.binding(), |bytes| position.write(bytes))
    }

    pub fn read(&self, cursor: &str) -> Result<Position, InvalidCursor> {
        open(self.binding(), cursor, POSITION, Position::read)
    }

    fn binding(&self) -> [u8; BINDING] {
        binding(&["by-user", self.status.map_or("", Status::as_str), self.user_id.as_str()])
    }
}

/// Cursors of the orders of an open status: a position in each shard, `None` where nothing was read yet.
pub(super) struct WorkCursor {
    pub status: OpenStatus,
}

/// One for each shard.
pub(super) type Positions = [Option<Position>; SHARDS as usize];

impl WorkCursor {
    pub fn write(&self, positions: &Positions) -> String {
        seal(self.binding(), |bytes| {
            for position in positions {
                match position {
                    None => bytes.extend_from_slice(&[0; POSITION]),
                    Some(position) => position.write(bytes),
                }
            }
        })
    }

    pub fn read(&self, cursor: &str) -> Result<Positions, InvalidCursor> {
        open(self.binding(), cursor, POSITION * usize::from(SHARDS), |bytes| {
            let mut positions = Positions::default();
            for position in &mut positions {
                *position = Some(Position::read(bytes)?).filter(|read| !read.order_id.0.is_nil());
            }
            Some(positions)
        })
    }

    fn binding(&self) -> [u8; BINDING] {
        binding(&["by-status", Status::from(self.status).as_str()])
    }
}

/// Binds a cursor to a query.
fn binding(query: &[&str]) -> [u8; BINDING] {
    let mut hash = Sha256::new();
    for part in query {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut binding = [0; BINDING];
    binding.copy_from_slice(&hash.finalize()[..BINDING]);
    binding
}

fn seal(binding: [u8; BINDING], write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = vec![FORM];
    bytes.extend_from_slice(&binding);
    write(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn open<T>(
    binding: [u8; BINDING],
    cursor: &str,
    length: usize,
    read: impl FnOnce(&mut &[u8]) -> Option<T>,
) -> Result<T, InvalidCursor> {
    let length = 1 + BINDING + length;
    if cursor.len() != length.saturating_mul(4).div_ceil(3) {
        return Err(InvalidCursor);
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
    let mut bytes = bytes.as_slice();
    if take(&mut bytes) != Some([FORM]) || take(&mut bytes) != Some(binding) {
        return Err(InvalidCursor);
    }
    read(&mut bytes).filter(|_| bytes.is_empty()).ok_or(InvalidCursor)
}

/// The next bytes, if there are as many.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn position(n: u32) -> Position {
        let created_at = Timestamp::from_millis(1_800_000_000_123 + i64::from(n)).unwrap();
        Position { created_at, order_id: OrderId(Uuid::from_u128(7 + u128::from(n))) }
    }

    fn paid() -> WorkCursor {
        WorkCursor { status: OpenStatus::try_from(Status::Paid).unwrap() }
    }

    #[test]
    fn a_cursor_contains_its_position() {
        let user_id = user("alice");
        let query = UserCursor { user_id: &user_id, status: None };
        assert_eq!(query.read(&query.write(position(0))), Ok(position(0)));
        for positions in [[None; 4], [Some(position(0)), None, Some(position(2)), Some(position(3))]] {
            assert_eq!(paid().read(&paid().write(&positions)), Ok(positions));
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_rejected() {
        let (alice, bob) = (user("alice"), user("bob"));
        let queries = [
            UserCursor { user_id: &alice, status: None },
            UserCursor { user_id: &alice, status: Some(Status::Paid) },
            UserCursor { user_id: &bob, status: None },
            UserCursor { user_id: &bob, status: Some(Status::Paid) },
        ];
        for (n, query) in queries.iter().enumerate() {
            for (m, other) in queries.iter().enumerate() {
                assert_eq!(query.read(&other.write(position(0))).is_ok(), n == m, "{m} read as {n}");
            }
            let work = paid().write(&[Some(position(0)); 4]);
            assert_eq!(query.read(&work), Err(InvalidCursor));
            assert_eq!(paid().read(&query.write(position(0))), Err(InvalidCursor));
        }
        let shipped = WorkCursor { status: OpenStatus::try_from(Status::Shipped).unwrap() };
        assert_eq!(shipped.read(&paid().write(&[Some(position(0)); 4])), Err(InvalidCursor));
    }

    #[test]
    fn a_text_that_is_not_a_cursor_is_rejected() {
        let user_id = user("alice");
        let query = UserCursor { user_id: &user_id, status: None };
        let cursor = query.write(position(0));
        for length in 0..cursor.len() {
            assert_eq!(query.read(&cursor[..length]), Err(InvalidCursor), "cut to {length}");
        }
        let million = "A".repeat(1_000_000);
        for text in [&format!("{cursor}A"), &format!("{cursor}=="), &cursor.replace(&cursor[..1], "é"), "….", &million]
        {
            assert_eq!(query.read(text), Err(InvalidCursor), "{text:.80}");
        }
        let other_form = BASE64_URL_SAFE_NO_PAD.decode(&cursor).map(|mut bytes| {
            bytes[0] += 1;
            BASE64_URL_SAFE_NO_PAD.encode(bytes)
        });
        assert_eq!(query.read(&other_form.unwrap()), Err(InvalidCursor));
        let unlike_any_time = |seconds: i64, nanos: u32| {
            seal(query.binding(), |bytes| {
                bytes.extend_from_slice(&seconds.to_be_bytes());
                bytes.extend_from_slice(&nanos.to_be_bytes());
                bytes.extend_from_slice(&[9; 16]);
            })
        };
        for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (59, 1_000_000_000), (0, u32::MAX)] {
            assert_eq!(query.read(&unlike_any_time(seconds, nanos)), Err(InvalidCursor), "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_cursor_has_one_spelling() {
        let user_id = user("alice");
        let query = UserCursor { user_id: &user_id, status: None };
        let cursor = query.write(position(0));
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for (place, letter) in (0..cursor.len()).flat_map(|place| alphabet.chars().map(move |letter| (place, letter))) {
            let changed: String =
                cursor.chars().enumerate().map(|(n, c)| if n == place { letter } else { c }).collect();
            let read = query.read(&changed);
            assert_eq!(read == Ok(position(0)), changed == cursor, "{changed}");
        }
    }
}
