//! `list-orders`: the work queue, all orders of an open status.

use super::{Queries, in_time};
use crate::answer::Answer;
use crate::caller::{Needs, Scope};
use crate::parameters::Query;
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: None, any: &[Scope::Fulfil] };

/// Responds with a page of them, oldest first.
///
/// # Errors
/// 400 for a status that is not open and for a cursor of another list.
pub async fn handle(queries: &Queries, request: &Request) -> Result<Answer, Problem> {
    queries.authorise(request, NEEDS)?;
    let query = Query::parse(request, &["status", "limit", "cursor"])?;
    let (status, limit) = (query.open_status()?, query.limit()?);
    let page = in_time(request, queries.rows.by_status(status, limit, query.text("cursor"))).await?;
    queries.page(page)
}

#[cfg(test)]
mod tests {
    use orders_core::domain::Status;
    use serde_json::json;

    use super::*;
    use crate::testing::{self, Shop, ask, body};

    async fn list(shop: &Shop, scopes: &str, query: &str) -> Answer {
        let handle = async |request: &Request| handle(&shop.queries, request).await;
        testing::answer(handle, ask("fulfilment", scopes, "", query)).await
    }

    #[tokio::test]
    async fn fulfilment_sees_what_waits_to_be_shipped() {
        let shop = Shop::open().await;
        let mut orders = Vec::new();
        for _ in 0..3 {
            orders.push(shop.create_order(1.0).await);
        }
        shop.pay(&orders[1], 1.0).await;
        shop.project().await;
        let page = body(&list(&shop, "orders:fulfil", "status=paid").await);
        assert_eq!(page["orders"].as_array().unwrap().len(), 1);
        assert_eq!(page["orders"][0]["order_id"], json!(orders[1]));
        assert_eq!(page["next_cursor"], json!(null));
    }

    #[tokio::test]
    async fn there_is_a_list_of_every_open_status_and_of_no_other() {
        let shop = Shop::open().await;
        for status in Status::ALL.into_iter().filter(|status| status.is_open()) {
            assert_eq!(list(&shop, "orders:admin", &format!("status={status}")).await.status(), 200);
        }
        let closed =
            Status::ALL.into_iter().filter(|status| !status.is_open()).map(|status| format!("status={status}"));
        for query in ["", "status=", "status=PAID", "status=<paid>"].map(str::to_owned).into_iter().chain(closed) {
            let answer = list(&shop, "orders:fulfil", &query).await;
            assert_eq!((answer.status(), &body(&answer)["errors"][0]["path"]), (400, &json!("status")), "{query}");
        }
    }

    #[tokio::test]
    async fn customers_and_the_storefront_do_not_see_it() {
        let shop = Shop::open().await;
        for scopes in ["orders:read orders:write", "orders:checkout"] {
            assert_eq!(list(&shop, scopes, "status=paid").await.status(), 403);
        }
    }
}
