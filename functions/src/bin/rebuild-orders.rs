//! The function `rebuild-orders`: see [`orders_functions::rebuild`].

use lambda_runtime::Context;
use orders_functions::config::{self, Config, SalesTables};
use orders_functions::rebuild::{Maintenance, Rebuild};
use orders_functions::runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let runtime = Runtime::start()?;
    let (config, sales) = (Config::from_env()?, SalesTables::from_env()?);
    let maintenance = &Maintenance::new(config, sales, config::bulk_client().await);
    runtime.serve(async |rebuild: Rebuild, context: &Context| maintenance.rebuild(rebuild, context).await).await
}
