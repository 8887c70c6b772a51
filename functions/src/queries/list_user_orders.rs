//! `list-user-orders`: a user's orders, newest first.

use super::{Queries, in_time};
use crate::answer::Answer;
use crate::caller::{Needs, Scope};
use crate::parameters::{self, Query};
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: Some(Scope::Read), any: &[Scope::Fulfil] };

/// Responds with a page of them, of one status if the request names one.
///
/// # Errors
/// 404 for another user's list, 400 for a cursor of another list.
pub async fn handle(queries: &Queries, request: &Request) -> Result<Answer, Problem> {
    let caller = queries.authorize(request, NEEDS)?;
    let user_id = parameters::user_id(request)?;
    if !caller.may_touch(&user_id) {
        return Err(Problem::not_found("list of orders"));
    }
    let query = Query::parse(request, &["status", "limit", "cursor"])?;
    let (status, limit) = (query.status()?, query.limit()?);
    let page = in_time(request, queries.rows.by_user(&user_id, status, limit, query.text("cursor"))).await?;
    queries.page(page)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use service_clock::Timestamp;

    use super::*;
    use crate::testing::{self, OWNER, Shop, ask, body};

    async fn list(shop: &Shop, caller: &str, scopes: &str, user_id: &str, query: &str) -> Answer {
        let mut event = ask(caller, scopes, "", query);
        event["pathParameters"] = json!({"user_id": user_id});
        testing::answer(async |request| handle(&shop.queries, request).await, event).await
    }

    fn ids(page: &Value) -> Vec<&str> {
        page["orders"].as_array().unwrap().iter().map(|order| order["order_id"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_users_orders_come_newest_first_page_by_page() {
        let shop = Shop::open().await;
        let mut created = Vec::new();
        for _ in 0..5 {
            created.push(shop.create_order(1.5).await);
        }
        shop.project().await;
        let (mut listed, mut times) = (Vec::new(), Vec::new());
        let mut query = "limit=2".to_owned();
        loop {
            let page = body(&list(&shop, OWNER, "orders:read", OWNER, &query).await);
            listed.extend(ids(&page).into_iter().map(str::to_owned));
            assert_eq!(page["orders"][0]["total"], 1.5);
            let created_at = |order: &Value| order["created_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
            times.extend(page["orders"].as_array().unwrap().iter().map(created_at));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("limit=2&cursor={cursor}");
        }
        assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
        created.sort();
        listed.sort();
        assert_eq!(listed, created);
    }

    #[tokio::test]
    async fn the_list_can_be_filtered_by_status() {
        let shop = Shop::open().await;
        let (_, paid) = (shop.create_order(1.0).await, shop.create_order(2.0).await);
        shop.pay(&paid, 2.0).await;
        shop.project().await;
        let page = body(&list(&shop, OWNER, "orders:read", OWNER, "status=paid").await);
        assert_eq!(ids(&page), [paid]);
    }

    #[tokio::test]
    async fn another_users_list_is_not_found_but_fulfilment_reads_every_list() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(1.0).await;
        shop.project().await;
        assert_eq!(list(&shop, "other-user", "orders:read", OWNER, "").await.status(), 404);
        let page = body(&list(&shop, "fulfilment", "orders:fulfil", OWNER, "").await);
        assert_eq!(ids(&page), [order_id]);
    }

    #[tokio::test]
    async fn a_forged_cursor_or_one_of_another_list_is_rejected() {
        let shop = Shop::open().await;
        for _ in 0..2 {
            shop.create_order(1.0).await;
        }
        shop.project().await;
        let page = body(&list(&shop, OWNER, "orders:read", OWNER, "limit=1").await);
        let cursor = page["next_cursor"].as_str().unwrap();
        for (user, query) in [
            ("other-user", format!("cursor={cursor}")),
            (OWNER, format!("cursor={cursor}&status=paid")),
            (OWNER, format!("cursor={cursor}AAAA")),
            (OWNER, "cursor=".into()),
            (OWNER, "cursor=eyJzdHJlYW0iOiJ4In0".into()),
            (OWNER, "cursor=%00%ff".into()),
        ] {
            let answer = list(&shop, user, "orders:read", user, &query).await;
            assert_eq!((answer.status(), &body(&answer)["errors"][0]["path"]), (400, &json!("cursor")), "{query}");
        }
    }
}
