//! The names that other descriptions of the service repeat, for checks that compare them: `docs/api/vocabulary.json`.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Number, Value, json};

use crate::domain::{COMMANDS, OrderEvent, Status, golden, newest_schema};
use crate::read_model::sales::Figure;
use crate::read_model::{OrderSummary, OrderView};

fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    strip_descriptions(&mut schema);
    schema
}

fn strip_descriptions(schema: &mut Value) {
    if let Value::Object(members) = schema {
        members.retain(|name, member| name != "description" || !member.is_string());
        members.values_mut().for_each(strip_descriptions);
    }
}

#[test]
fn the_vocabulary_is_that_of_the_code() {
    let open = Status::ALL.into_iter().filter(|status| status.is_open()).collect::<Vec<_>>();
    let events: Map<_, _> =
        OrderEvent::NAMES.into_iter().map(|name| (name.to_owned(), newest_schema(name).into())).collect();
    let vocabulary = json!({
        "statuses": Status::ALL,
        "open_statuses": open,
        "events": events,
        "commands": COMMANDS,
        "sales_figures": Figure::ALL.map(Figure::name),
        "order": schema::<OrderView<Number>>(),
        "order_summary": schema::<OrderSummary<Number>>(),
    });
    golden::generated("../../docs/api/vocabulary.json", &vocabulary);
}
