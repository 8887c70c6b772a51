//! The function `list-user-orders`: see [`orders_functions::queries::list_user_orders`].

use orders_functions::http;
use orders_functions::queries::list_user_orders;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    http::query(list_user_orders::handle).await
}
