//! Where a list goes on: a position, bound to the query that it came from.
//!
//! A cursor cannot reach anything that its list does not show: the key of the index always comes from the authorised
//! request, and all that is read from the cursor is where in that list to go on. So it need not be kept secret and
//! carries no signature; whoever makes one up skips or repeats orders of their own. The binding tells apart what was
//! mixed up: a cursor of another user, status or kind of list is refused.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::row::{OpenStatus, SHARDS};
use super::view::OrderSummary;
use crate::order::ids::{OrderId, UserId};
use crate::order::state::Status;

/// A text that is no cursor of the list it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list: leave it out to start again")]
pub struct InvalidCursor;

/// A place in an index: after an order, whether that is still there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub created_at: DateTime<Utc>,
    pub order_id: OrderId,
}

/// The form of cursors. Raise it when it changes, and older cursors are refused.
const FORM: u8 = 1;
const BINDING: usize = 8;
const POSITION: usize = 8 + 4 + 16;

impl Position {
    pub fn of(order: &OrderSummary) -> Self {
        Self { created_at: order.created_at, order_id: order.order_id }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.created_at.timestamp().to_be_bytes());
        bytes.extend_from_slice(&self.created_at.timestamp_subsec_nanos().to_be_bytes());
        bytes.extend_from_slice(self.order_id.0.as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let seconds = i64::from_be_bytes(take(bytes)?);
        let nanos = u32::from_be_bytes(take(bytes)?);
        let order_id = OrderId(Uuid::from_bytes(take(bytes)?));
        // A leap second's nanoseconds go above a second's; nothing writes them.
        let created_at = DateTime::from_timestamp(seconds, nanos).filter(|_| nanos < 1_000_000_000)?;
        Some(Self { created_at, order_id })
    }
}

/// The cursors of a user's orders.
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

/// The cursors of the orders of an open status: a position in each shard, none where nothing was taken yet.
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

/// What ties a cursor to a query.
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
