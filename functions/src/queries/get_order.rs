//! `get-order`: an order as it is, or as it was.

use dynamodb_event_store::{StreamId, Version};
use orders_core::domain::OrderId;
use orders_core::read_model::{OrderView, ReadError};
use service_clock::Timestamp;

use super::{Queries, to_json};
use crate::answer::Answer;
use crate::caller::{Needs, Scope};
use crate::parameters::{self, Query};
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: Some(Scope::Read), any: &[Scope::Fulfil] };

/// Which state of the order is requested.
enum Which {
    /// The newest, at least of this version.
    Newest(Option<Version>),
    AtVersion(Version),
    AsOf(Timestamp),
}

/// Responds with the order. Its entity tag is its version; if events follow that cannot be read, a different tag.
///
/// # Errors
/// 404 for an order that does not exist or is another user's; 409 when it has not reached the requested version.
pub async fn handle(queries: &Queries, request: &Request) -> Result<Answer, Problem> {
    let caller = queries.authorize(request, NEEDS)?;
    let order_id = parameters::order_id(request)?;
    let which = which(request)?;
    let allowed = |view: &OrderView| caller.may_touch(&view.user_id);
    let stream = StreamId::new(order_id.to_string());
    let found = match queries.read(request, &caller, &stream, read(queries, order_id, &which)).await? {
        Ok(view) => view,
        // Only a caller who may access the order learns its version.
        Err(head) => match queries.read(request, &caller, &stream, queries.reader.newest(order_id, None)).await? {
            Some(view) if allowed(&view) => return Err(Problem::version_not_reached(head)),
            _ => None,
        },
    };
    let view = found.filter(allowed).ok_or_else(|| Problem::not_found("order"))?;
    let (version, parked) = (view.version, view.parked);
    let answer = Answer::json(200, &to_json(&view.on_the_wire(&queries.currency))?);
    Ok(if parked { answer.with_passed_etag(version) } else { answer.with_etag(version) })
}

/// The order, if there is one. The inner error is its version, if that is before the requested one.
async fn read(
    queries: &Queries,
    order_id: OrderId,
    which: &Which,
) -> Result<Result<Option<OrderView>, Version>, ReadError> {
    let read = match *which {
        Which::Newest(min_version) => queries.reader.newest(order_id, min_version).await,
        Which::AtVersion(version) => queries.reader.at_version(order_id, version).await,
        Which::AsOf(time) => queries.reader.as_of(order_id, time).await,
    };
    match read {
        Err(ReadError::VersionNotReached { head }) => Ok(Err(head)),
        read => read.map(Ok),
    }
}

fn which(request: &Request) -> Result<Which, Problem> {
    let known = ["min_version", "at_version", "as_of"];
    let query = Query::parse(request, &known)?;
    let given: Vec<_> = known.into_iter().filter(|name| query.text(name).is_some()).collect();
    if let [_, extra, ..] = given[..] {
        return Err(Problem::invalid_field(extra, format!("cannot be combined with {}", given[0])));
    }
    let time = |text: &str| text.parse().ok();
    if let Some(time) = query.get("as_of", "a time such as 2026-11-24T09:31:00Z, with + written as %2B", time)? {
        return Ok(Which::AsOf(time));
    }
    Ok(match query.version("at_version")? {
        Some(version) => Which::AtVersion(version),
        None => Which::Newest(query.version("min_version")?),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, OWNER, Shop, ask, body, problem};

    async fn get(shop: &Shop, event: Value) -> Answer {
        testing::answer(async |request| handle(&shop.queries, request).await, event).await
    }

    async fn owner_gets(shop: &Shop, order_id: &str, query: &str) -> Answer {
        get(shop, ask(OWNER, "orders:read", order_id, query)).await
    }

    #[tokio::test]
    async fn an_order_is_found_as_soon_as_it_is_created() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let answer = owner_gets(&shop, &order_id, "").await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        assert_eq!(answer.header("etag"), Some("\"1\""));
        let order = body(&answer);
        assert_eq!(
            (&order["status"], &order["total"], &order["user_id"]),
            (&json!("pending"), &json!(44.98), &json!(OWNER))
        );
        assert_eq!(order["items"][0]["price"], 44.98);
        shop.project().await;
        assert_eq!(owner_gets(&shop, &order_id, "").await.body(), answer.body(), "the row has the same");
    }

    #[tokio::test]
    async fn a_version_that_the_row_has_not_reached_is_read_from_the_events() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        shop.project().await;
        shop.pay(&order_id, 44.98).await;
        assert_eq!(body(&owner_gets(&shop, &order_id, "").await)["version"], 1);
        let answer = owner_gets(&shop, &order_id, "min_version=2").await;
        assert_eq!((&body(&answer)["version"], answer.header("etag")), (&json!(2), Some("\"2\"")));
    }

    #[tokio::test]
    async fn an_order_can_be_read_at_an_earlier_version_or_time() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let created_at = shop.order(&order_id).await.created_at;
        shop.pay(&order_id, 44.98).await;
        let answer = owner_gets(&shop, &order_id, "at_version=1").await;
        assert_eq!((&body(&answer)["status"], answer.header("etag")), (&json!("pending"), Some("\"1\"")));
        let before = (created_at - chrono::TimeDelta::seconds(1)).format("as_of=%Y-%m-%dT%H:%M:%SZ").to_string();
        assert_eq!(owner_gets(&shop, &order_id, &before).await.status(), 404);
        let later = owner_gets(&shop, &order_id, "as_of=2999-01-01T00%3A00%3A00%2B01%3A00").await;
        assert_eq!(body(&later)["status"], "paid");
    }

    #[tokio::test]
    async fn a_version_that_the_order_has_not_reached_is_rejected() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for query in ["min_version=2", "at_version=2", "at_version=18446744073709551615"] {
            let answer = owner_gets(&shop, &order_id, query).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (409, "version-not-reached"), "{query}");
            assert_eq!(body(&answer)["version"], 1);
        }
    }

    #[tokio::test]
    async fn another_users_order_is_not_found_at_any_version() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let unknown = get(&shop, ask(OWNER, "orders:read", "00000000-0000-4000-8000-000000000000", "")).await;
        for query in
            ["", "min_version=1", "min_version=2", "at_version=1", "at_version=9", "as_of=2999-01-01T00:00:00Z"]
        {
            let answer = get(&shop, ask("other-user", "orders:read", &order_id, query)).await;
            assert_eq!(answer.status(), 404, "{query}");
            assert_eq!(body(&answer)["detail"], body(&unknown)["detail"], "{query}");
        }
        assert_eq!(get(&shop, ask("fulfilment", "orders:fulfil", &order_id, "")).await.status(), 200);
    }

    #[tokio::test]
    async fn parameters_must_be_known_and_valid_and_name_one_state() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        for (query, path) in [
            ("min_version=1&at_version=1", "at_version"),
            ("as_of=2999-01-01T00:00:00Z&min_version=1", "as_of"),
            ("at_version=0", "at_version"),
            ("min_version=-1", "min_version"),
            ("as_of=yesterday", "as_of"),
            ("as_of=2026-11-24T09:31:00+01:00", "as_of"),
            ("version=1", "version"),
        ] {
            let answer = owner_gets(&shop, &order_id, query).await;
            assert_eq!((answer.status(), &body(&answer)["errors"][0]["path"]), (400, &json!(path)), "{query}");
        }
    }
}
