//! `rebuild-orders`: recreates the rows of one order, or of a segment of all orders.

use dynamodb_event_store::projection::{
    Projection, ProjectionError, ReadModel, RebuildError, RebuildMode, RebuildProgress, Verification, VerifyError,
};
use dynamodb_event_store::{InvalidSegment, Segment, Version};
use lambda_runtime::{Context, Diagnostic};
use orders_core::domain::OrderId;
use orders_core::read_model::{OrderRows, Sales};
use serde::{Deserialize, Serialize};

use crate::config::{Config, SalesTables};
use crate::deadline;
use crate::failure;
use crate::projection;

/// The read model whose rows are rebuilt or verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// The rows of orders.
    #[default]
    Orders,
    /// The contribution of each order to the sales.
    Sales,
}

/// What to rebuild. Send the response as the next request until its `progress` is `done`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Fields")]
pub enum Rebuild {
    /// The rows of one order, in all read models: repair them, and unpark them.
    Order(OrderId),
    /// The rows of a segment.
    Segment(OneSegment<RebuildProgress>),
}

/// All fields of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    order_id: Option<OrderId>,
    #[serde(default)]
    model: Option<Model>,
    segment: Option<u32>,
    total_segments: Option<u32>,
    table: Option<String>,
    #[serde(default)]
    after_restore: bool,
    seconds: Option<u64>,
    progress: Option<RebuildProgress>,
}

impl TryFrom<Fields> for Rebuild {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match fields {
            Fields {
                order_id: Some(order_id),
                model: None,
                segment: None,
                total_segments: None,
                table: None,
                after_restore: false,
                seconds: None,
                progress: None,
            } => Ok(Self::Order(order_id)),
            Fields { model: Some(Model::Sales), table: Some(_), .. } => Err(SALES_TABLE),
            Fields {
                order_id: None,
                model,
                segment: Some(segment),
                total_segments: Some(total_segments),
                table,
                after_restore,
                seconds,
                progress,
            } => {
                let model = model.unwrap_or_default();
                Ok(Self::Segment(OneSegment {
                    model,
                    segment,
                    total_segments,
                    table,
                    after_restore,
                    seconds,
                    progress,
                }))
            }
            _ => Err("give either `order_id` alone, or `segment` and `total_segments`"),
        }
    }
}

/// One segment of the event table, and its progress.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OneSegment<P> {
    /// The read model; `orders` by default.
    #[serde(default)]
    pub model: Model,
    /// Its number, from 0.
    pub segment: u32,
    /// The number of segments.
    pub total_segments: u32,
    /// The table of the rows, if it is not the deployment's: a new one for a changed format of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The event table was restored to an earlier point: all rows are compared with its events, recreated where they
    /// differ, and removed where there is no event. Only for rebuilding.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_restore: bool,
    /// How long this run takes; 60 by default. It ends after a page, and before the function times out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The progress of the run before; `None` in the first.
    #[serde(default = "Option::default")]
    pub progress: Option<P>,
}

/// The response; for a segment, the next run's request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Rebuilt {
    /// One order's rows were repaired.
    Order {
        /// The order.
        order_id: OrderId,
        /// The rows' version now; `None` if the order has no events.
        version: Option<Version>,
    },
    /// The segment, with its progress.
    Segment(OneSegment<RebuildProgress>),
}

const SALES_TABLE: &str = "the model `sales` has one table: omit `table`";

/// A run that failed. What it wrote stays, and repeating it is safe.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such segment.
    #[error(transparent)]
    InvalidSegment(#[from] InvalidSegment),
    /// Sales have one table.
    #[error("{SALES_TABLE}")]
    SalesTable,
    /// The order could not be repaired.
    #[error(transparent)]
    Repair(#[from] ProjectionError),
    /// The segment could not be rebuilt.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The segment could not be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl From<RunError> for Diagnostic {
    fn from(error: RunError) -> Self {
        failure::diagnostic("RunError", &error)
    }
}

/// Rebuilds and verifies rows.
#[derive(Clone, Debug)]
pub struct Maintenance {
    client: aws_sdk_dynamodb::Client,
    config: Config,
    sales_tables: SalesTables,
}

impl Maintenance {
    /// On the tables that the configuration names.
    pub fn new(config: Config, sales_tables: SalesTables, client: aws_sdk_dynamodb::Client) -> Self {
        Self { client, config, sales_tables }
    }

    /// Repairs an order, or continues with a segment until the time is up.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn rebuild(&self, rebuild: Rebuild, context: &Context) -> Result<Rebuilt, RunError> {
        match rebuild {
            Rebuild::Order(order_id) => {
                let stream = order_id.into();
                // An error of one read model must not cancel the other.
                let (orders, sales) = (self.orders(None), self.sales());
                let (version, sales) = futures::join!(orders.repair(&stream), sales.repair(&stream));
                let version = version?;
                sales?;
                tracing::info!(%order_id, version, "order repaired");
                Ok(Rebuilt::Order { order_id, version })
            }
            Rebuild::Segment(run) => match run.model {
                Model::Orders => rebuild_segment(&self.orders(run.table.as_deref()), run, context).await,
                Model::Sales => rebuild_segment(&self.sales(), run, context).await,
            },
        }
    }

    /// Compares the rows of a segment with their events until the time is up.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn verify(
        &self,
        run: OneSegment<Verification>,
        context: &Context,
    ) -> Result<OneSegment<Verification>, RunError> {
        match (run.model, &run.table) {
            (Model::Orders, table) => verify_segment(&self.orders(table.as_deref()), run, context).await,
            (Model::Sales, None) => verify_segment(&self.sales(), run, context).await,
            (Model::Sales, Some(_)) => Err(RunError::SalesTable),
        }
    }

    fn orders(&self, table: Option<&str>) -> Projection<OrderRows> {
        projection::order_rows(&self.config, self.client.clone(), table.unwrap_or(&self.config.orders_table))
    }

    fn sales(&self) -> Projection<Sales> {
        projection::sales(&self.config, &self.sales_tables, self.client.clone())
    }
}

async fn rebuild_segment<M: ReadModel>(
    rows: &Projection<M>,
    mut run: OneSegment<RebuildProgress>,
    context: &Context,
) -> Result<Rebuilt, RunError> {
    let (segment, deadline) = (run.segment()?, deadline::of_run(run.seconds, context));
    let progress = run.progress.take().unwrap_or_default();
    let mode = if run.after_restore { RebuildMode::AfterRestore } else { RebuildMode::Live };
    let progress = rows.rebuild(segment, progress, mode, deadline).await?;
    tracing::info!(model = M::NAME, ?segment, ?progress, "segment rebuilt so far");
    Ok(Rebuilt::Segment(OneSegment { progress: Some(progress), ..run }))
}

async fn verify_segment<M: ReadModel>(
    rows: &Projection<M>,
    mut run: OneSegment<Verification>,
    context: &Context,
) -> Result<OneSegment<Verification>, RunError> {
    let (segment, deadline) = (run.segment()?, deadline::of_run(run.seconds, context));
    let verification = run.progress.take().unwrap_or_default();
    let verification = rows.verify(segment, verification, deadline).await?;
    let Verification { streams, different, .. } = verification;
    tracing::info!(model = M::NAME, ?segment, streams, different, "segment verified");
    Ok(OneSegment { progress: Some(verification), ..run })
}

impl<P> OneSegment<P> {
    fn segment(&self) -> Result<Segment, InvalidSegment> {
        Segment::new(self.segment, self.total_segments)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(event: Value) -> Result<Rebuild, String> {
        strict_json::from_slice(event.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_order_or_a_segment_can_be_requested() {
        let order_id = "0190a1b2-0000-7000-8000-000000000001";
        assert!(matches!(read(json!({ "order_id": order_id })), Ok(Rebuild::Order(_))));
        let first = read(json!({ "segment": 0, "total_segments": 4 }));
        assert!(matches!(first, Ok(Rebuild::Segment(OneSegment { progress: None, table: None, .. }))), "{first:?}");
        let both = json!({ "order_id": order_id, "segment": 0, "total_segments": 4 });
        for (event, expected) in [
            (json!({}), "give either `order_id` alone, or `segment` and `total_segments`"),
            (both, "give either"),
            (json!({ "segment": 0 }), "give either"),
            (json!({ "order_id": "seven" }), "UUID"),
            (json!({ "segment": -1, "total_segments": 4 }), "invalid value: integer `-1`, expected u32"),
            (json!({ "segment": 0, "total_segments": 4, "model": "profits" }), "unknown variant `profits`"),
            (json!({ "segment": 0, "total_segments": 4, "model": "sales", "table": "t" }), "omit `table`"),
            (json!({ "order_id": order_id, "model": "sales" }), "give either"),
            (json!({ "order": order_id }), "unknown field `order`"),
            (json!([order_id]), "invalid type: sequence"),
            (json!([0, 4]), "invalid type: sequence"),
            (json!({ "segment": 0, "total_segments": 4, "progress": [null, true, 7] }), "invalid type: sequence"),
        ] {
            let error = read(event.clone()).unwrap_err();
            assert!(error.contains(expected), "{event}: {error}");
        }
    }

    #[test]
    fn the_response_is_the_next_runs_request() {
        let request = json!({ "model": "orders", "segment": 1, "total_segments": 4, "table": "orders-rows-2", "after_restore": true, "seconds": 5 });
        let Ok(Rebuild::Segment(mut run)) = read(request.clone()) else { panic!("{request}") };
        run.progress = Some(RebuildProgress { streams: 7, ..RebuildProgress::default() });
        let mut response = serde_json::to_value(Rebuilt::Segment(run)).unwrap();
        let next = read(response.clone());
        assert!(
            matches!(next, Ok(Rebuild::Segment(OneSegment { progress: Some(RebuildProgress { streams: 7, .. }), .. }))),
            "{next:?}"
        );
        response.as_object_mut().unwrap().remove("progress");
        assert_eq!(response, request, "the rest is unchanged");
    }

    /// `.ci/check-state-machine.py` evaluates the expressions; this compares their field names with the types.
    #[test]
    fn the_templates_state_machine_uses_the_fields_of_requests_and_responses() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml");
        let template: yaml_serde::Value = yaml_serde::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let segments = &template["Resources"]["Rebuild"]["Properties"]["Definition"]["States"]["Segments"];
        let states = &segments["ItemProcessor"]["States"];

        let items = segments["Items"].as_str().unwrap();
        let named = |text: &str| text.split('\'').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(named(items), ["segment", "total_segments", "seconds"], "and its own input");
        let first = json!({
            "segment": 0, "total_segments": 8, "table": "orders-rows-2", "seconds": 600, "after_restore": true,
        });
        let Ok(Rebuild::Segment(run)) = read(first) else { panic!("its first request is invalid") };

        // The whole response is the next request.
        assert_eq!(states["Continue"]["Arguments"]["Payload"].as_str(), Some("{% $states.input %}"));
        assert_eq!(states["Continue"]["Output"].as_str(), Some("{% $states.result.Payload %}"));
        let condition = states["Done?"]["Choices"][0]["Condition"].as_str().unwrap();
        let path = condition.trim_start_matches("{% $states.input.").trim_end_matches(" %}");
        for done in [false, true] {
            let progress = Some(RebuildProgress { done, ..RebuildProgress::default() });
            let response = serde_json::to_value(Rebuilt::Segment(OneSegment { progress, ..run.clone() })).unwrap();
            assert_eq!(path.split('.').fold(&response, |value, field| &value[field]), &json!(done), "{path}");
            assert!(matches!(read(response), Ok(Rebuild::Segment(_))));
        }
    }
}
