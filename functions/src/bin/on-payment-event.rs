//! The function `on-payment-event`: see [`orders_functions::incoming::payments`].

use orders_functions::config::Config;
use orders_functions::incoming::{self, payments};
use orders_functions::runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let runtime = Runtime::start()?;
    let config = Config::from_env()?;
    let runner = incoming::runner(&config).await?;
    incoming::serve(runtime, async |received| payments::handle(&runner, &config.currency, received).await).await
}
