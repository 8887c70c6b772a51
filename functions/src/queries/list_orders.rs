//! `list-orders`: the work queue, all orders of an open status.

use orders_core::read_model::OpenStatus;

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
    let open = "pending, paid or shipped";
    let status = query.status()?.ok_or_else(|| Problem::invalid_field("status", format!("must be {open}")))?;
    let status = OpenStatus::try_from(status).map_err(|error| Problem::invalid_field("status", error.to_string()))?;
    let page = in_time(request, queries.rows.by_status(status, query.limit()?, query.text("cursor"))).await?;
    queries.page(page)
}

#[cfg(test)]
mod tests {
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
        for status in ["pending", "paid", "shipped"] {
            assert_eq!(list(&shop, "orders:admin", &format!("status={status}")).await.status(), 200);
        }
        for query in ["", "status=", "status=delivered", "status=cancelled", "status=PAID", "status=<paid>"] {
            let answer = list(&shop, "orders:fulfil", query).await;
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
