//! The function `sales-report`: see [`orders_functions::queries::sales_report`].

use orders_functions::config::{self, Config};
use orders_functions::limits::Limits;
use orders_functions::queries::sales_report::{self, Reports};
use orders_functions::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init()?;
    let (config, client) = (Config::from_env()?, config::dynamodb_client().await);
    let limits = Limits::from_env(&client).await?;
    let totals: String = config::setting("SALES_TOTALS_TABLE")?;
    let reports = Reports::new(&config, totals, client);
    http::serve(&limits, async |request| sales_report::handle(&reports, request).await).await
}
