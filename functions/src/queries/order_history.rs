//! `order-history`: the audit trail of an order, from the event store.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use dynamodb_event_store::{Commit, StoreError, StreamId, Version, derived_id};
use orders_core::domain::{OrderEvent, UserId, wire};
use serde_json::{Value, json};

use super::{Queries, in_time, invalid_cursor};
use crate::answer::Answer;
use crate::caller::{Caller, Needs, Scope};
use crate::parameters::{self, Query};
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: Some(Scope::Read), any: &[Scope::Fulfil] };

/// Responds with a page of its events, oldest first. The entity tag is the version of the page's newest event. A page with
/// a next cursor has a different tag, since it differs from the same page without one.
///
/// # Errors
/// 404 for an order that does not exist or is another user's, 400 for a cursor of another order.
pub async fn handle(queries: &Queries, request: &Request) -> Result<Answer, Problem> {
    let caller = queries.authorize(request, NEEDS)?;
    let stream = StreamId::from(parameters::order_id(request)?);
    let query = Query::parse(request, &["limit", "cursor"])?;
    let limit = query.limit()?;
    let start = query.text("cursor").map(|cursor| Place::read(cursor, &stream)).transpose()?.unwrap_or_default();

    // A commit has at least one event: one more than requested shows whether another page follows.
    let wanted = limit + 1;
    let from_first = if start.after == 0 { wanted } else { 1 };
    let page = queries.events.page_after(&stream, 0, from_first);
    let first = queries.read(request, &caller, &stream, page).await?;
    if !first.commits.first().and_then(owner).is_some_and(|owner| caller.may_touch(owner)) {
        return Err(Problem::not_found("order"));
    }
    let first = first.readable()?.commits;
    let commits = if start.after == 0 { first } else { commits(queries, request, &stream, start, wanted).await? };
    if start.skip > 0 && commits.first().is_none_or(|commit| commit.events.len() <= start.skip as usize) {
        return Err(invalid_cursor(NOT_OF_THIS_ORDER));
    }
    let places = commits.iter().flat_map(|commit| {
        let place = move |(skip, (version, event))| (Place { after: commit.first - 1, skip }, version, event, commit);
        (0..).zip(commit.versioned()).map(place)
    });
    let mut places = places.skip(start.skip as usize);
    let shown = |(_, version, event, commit)| entry(version, event, commit, &caller, queries);
    let events: Vec<_> = places.by_ref().take(limit).map(shown).collect();
    let next_cursor = places.next().map(|(place, ..)| place.write(&stream));
    let newest = events.last().and_then(|event| event["version"].as_u64());
    let answer = Answer::json(200, &json!({"events": events, "next_cursor": next_cursor}));
    Ok(match newest {
        Some(version) if next_cursor.is_none() => answer.with_etag(version),
        Some(version) => answer.with_passed_etag(version),
        None => answer,
    })
}

/// The commits from a place on. A forged cursor may name a place within a commit, which the store reports as a gap.
async fn commits(
    queries: &Queries,
    request: &Request,
    stream: &StreamId,
    start: Place,
    limit: usize,
) -> Result<Vec<Commit<OrderEvent>>, Problem> {
    let read = async {
        match queries.events.page_after(stream, start.after, limit).await {
            Err(StoreError::Corrupt(gap)) if Some(gap.version) == start.after.checked_add(1) => {
                Err(invalid_cursor(NOT_OF_THIS_ORDER))
            }
            page => Ok(page?.readable()?.commits),
        }
    };
    in_time(request, read).await
}

fn owner(first: &Commit<OrderEvent>) -> Option<&UserId> {
    match first.events.first()? {
        OrderEvent::OrderCreated { user_id, .. } => Some(user_id),
        _ => None,
    }
}

/// An event as the caller sees it. Owners see no actors but themselves.
fn entry(
    version: Version,
    event: &OrderEvent,
    commit: &Commit<OrderEvent>,
    caller: &Caller,
    queries: &Queries,
) -> Value {
    let mut entry = json!({
        "version": version,
        "type": event.name(),
        "data": wire::data(event, &queries.currency),
        "recorded_at": commit.recorded_at,
    });
    let actor = &commit.metadata.actor;
    if caller.may_touch_all() || actor == caller.user().as_str() {
        entry["actor"] = actor.as_str().into();
    }
    entry
}

const NOT_OF_THIS_ORDER: &str = "not a cursor of this order's events: omit it to start again";

/// Where a page begins. The order always comes from the authorized request, so a cursor cannot reach another one and needs
/// no signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// The last version of the commit before.
    after: Version,
    /// How many events of the next commit are on earlier pages.
    skip: u32,
}

impl Place {
    fn write(self, stream: &StreamId) -> String {
        let bytes = [&binding(stream)[..], &self.after.to_be_bytes(), &self.skip.to_be_bytes()].concat();
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read(cursor: &str, stream: &StreamId) -> Result<Self, Problem> {
        let read = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (after, skip) = bytes.strip_prefix(&binding(stream))?.split_at_checked(8)?;
            Some(Self {
                after: Version::from_be_bytes(after.try_into().ok()?),
                skip: u32::from_be_bytes(skip.try_into().ok()?),
            })
        };
        read().ok_or_else(|| invalid_cursor(NOT_OF_THIS_ORDER))
    }
}

/// Distinguishes the cursors of different orders.
fn binding(stream: &StreamId) -> [u8; 16] {
    derived_id(&["order-history", stream.as_str()]).into_bytes()
}

#[cfg(test)]
mod tests {
    use orders_core::domain::ConfirmRefund;

    use super::*;
    use crate::testing::{self, OWNER, Shop, ask, body};

    async fn history(shop: &Shop, caller: &str, scopes: &str, order_id: &str, query: &str) -> Answer {
        let handle = async |request: &Request| handle(&shop.queries, request).await;
        testing::answer(handle, ask(caller, scopes, order_id, query)).await
    }

    async fn cancelled_order(shop: &Shop) -> String {
        let order_id = shop.create_order(44.98).await;
        shop.pay(&order_id, 44.98).await;
        shop.cancel(&order_id).await;
        order_id
    }

    const TRAIL: [&str; 4] = ["OrderCreated", "OrderPaid", "OrderCancelled", "OrderRefundDue"];

    #[tokio::test]
    async fn the_trail_has_every_event_in_order_with_amounts_as_decimals() {
        let shop = Shop::open().await;
        let order_id = cancelled_order(&shop).await;
        let answer = history(&shop, "fulfilment", "orders:fulfil", &order_id, "").await;
        assert_eq!(answer.header("etag"), Some("\"4\""));
        let trail = body(&answer);
        let events = trail["events"].as_array().unwrap();
        let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types, TRAIL);
        for (version, event) in (1..).zip(events) {
            assert_eq!(event["version"], version);
            assert!(event["recorded_at"].as_str().unwrap().ends_with('Z'));
        }
        assert_eq!(events[1]["data"]["amount"], 44.98);
        assert_eq!(trail["next_cursor"], json!(null));
    }

    #[tokio::test]
    async fn a_page_may_begin_and_end_within_a_commit() {
        let shop = Shop::open().await;
        let order_id = cancelled_order(&shop).await;
        for limit in 1..=5 {
            let mut types = Vec::new();
            let mut query = format!("limit={limit}");
            loop {
                let page = body(&history(&shop, OWNER, "orders:read", &order_id, &query).await);
                let events = page["events"].as_array().unwrap();
                assert!((1..=limit).contains(&events.len()), "{page}");
                types.extend(events.iter().map(|event| event["type"].as_str().unwrap().to_owned()));
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                query = format!("limit={limit}&cursor={cursor}");
            }
            assert_eq!(types, TRAIL, "in pages of {limit}");
        }
    }

    #[tokio::test]
    async fn the_entity_tag_of_a_page_changes_when_another_page_follows() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let etag = async || {
            let page = history(&shop, OWNER, "orders:read", &order_id, "limit=1").await;
            page.header("etag").map(str::to_owned)
        };
        assert_eq!(etag().await.as_deref(), Some("\"1\""));
        shop.pay(&order_id, 44.98).await;
        assert_eq!(
            etag().await.as_deref(),
            Some("\"1+\""),
            "there is a next cursor now, and version 1 is not the order's"
        );
    }

    #[tokio::test]
    async fn owners_do_not_see_which_member_of_staff_acted() {
        let shop = Shop::open().await;
        let order_id = cancelled_order(&shop).await;
        let actors = async |caller, scopes| {
            let trail = body(&history(&shop, caller, scopes, &order_id, "").await);
            let actor = |event: &Value| event["actor"].as_str().map(str::to_owned);
            trail["events"].as_array().unwrap().iter().map(actor).collect::<Vec<_>>()
        };
        assert_eq!(actors(OWNER, "orders:read").await, [None, Some(OWNER.into()), None, None]);
        let all = ["storefront", OWNER, "fulfilment", "fulfilment"].map(|actor| Some(actor.to_owned()));
        assert_eq!(actors("fulfilment", "orders:fulfil").await, all);
    }

    #[tokio::test]
    async fn another_users_trail_is_not_found_with_or_without_a_cursor() {
        let shop = Shop::open().await;
        let order_id = cancelled_order(&shop).await;
        let page = body(&history(&shop, OWNER, "orders:read", &order_id, "limit=1").await);
        let cursor = page["next_cursor"].as_str().unwrap().to_owned();
        let stream = StreamId::new(order_id.as_str());
        let within = Place { after: 3, skip: 0 }.write(&stream);
        for query in [String::new(), format!("cursor={cursor}"), format!("cursor={within}")] {
            assert_eq!(history(&shop, "other-user", "orders:read", &order_id, &query).await.status(), 404);
        }
        let unknown = "00000000-0000-4000-8000-000000000000";
        assert_eq!(history(&shop, OWNER, "orders:read", unknown, "").await.status(), 404);
    }

    #[tokio::test]
    async fn a_forged_cursor_or_one_of_another_order_is_rejected() {
        let shop = Shop::open().await;
        let order_id = cancelled_order(&shop).await;
        let refund = ConfirmRefund {
            payment_id: "p1".parse().unwrap(),
            refund_id: "r1".parse().unwrap(),
            amount: shop.order(&order_id).await.total,
        };
        shop.run(&order_id, &refund).await;
        let stream = StreamId::new(order_id.as_str());
        let other = Place { after: 1, skip: 0 }.write(&StreamId::new("other"));
        let own = Place { after: 1, skip: 0 }.write(&stream);
        let within_a_commit = Place { after: 3, skip: 0 }.write(&stream);
        let past_a_commit = Place { after: 2, skip: 2 }.write(&stream);
        let far_past = Place { after: 0, skip: u32::MAX }.write(&stream);
        for cursor in [other, own + "AA", within_a_commit, past_a_commit, far_past, String::new(), "%00".into()] {
            let answer = history(&shop, OWNER, "orders:read", &order_id, &format!("cursor={cursor}")).await;
            assert_eq!((answer.status(), &body(&answer)["errors"][0]["path"]), (400, &json!("cursor")), "{cursor}");
        }
        let at_the_end = Place { after: u64::MAX, skip: 0 }.write(&stream);
        let answer = history(&shop, OWNER, "orders:read", &order_id, &format!("cursor={at_the_end}")).await;
        assert_eq!((answer.status(), &body(&answer)["events"]), (200, &json!([])));
    }
}
