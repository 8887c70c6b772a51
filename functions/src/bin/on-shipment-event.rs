//! The function `on-shipment-event`: see [`orders_functions::incoming::shipping`].

use orders_functions::config::Config;
use orders_functions::incoming::{self, shipping};
use orders_functions::runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let runtime = Runtime::start()?;
    let runner = incoming::runner(&Config::from_env()?).await?;
    incoming::serve(runtime, async |received| shipping::handle(&runner, received).await).await
}
