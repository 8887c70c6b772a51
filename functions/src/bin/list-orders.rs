//! The function `list-orders`: see [`orders_functions::queries::list_orders`].

use orders_functions::http;
use orders_functions::queries::list_orders;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::query(list_orders::handle).await
}
