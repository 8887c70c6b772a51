//! The metrics that the template names, and those in the log lines of functions.

use std::collections::{BTreeMap, BTreeSet};

use orders_local::template::project_path;
use serde_json::Value as Json;
use yaml_serde::Value;

/// The namespace of metrics that are counted from log lines.
pub const OF_LINES: &str = "Orders/${AWS::StackName}";

/// A metric as an alarm or the dashboard names it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub namespace: String,
    pub name: String,
    /// The possible values of each dimension; any if there is none.
    pub dimensions: BTreeMap<String, BTreeSet<String>>,
}

/// A metric that was written.
pub struct Written {
    pub namespace: String,
    pub name: String,
    pub dimensions: BTreeMap<String, String>,
}

impl Named {
    /// Whether this is the metric.
    pub fn is(&self, written: &Written) -> bool {
        let is_one = |(dimension, values): (&String, &BTreeSet<String>)| {
            written.dimensions.get(dimension).is_some_and(|value| values.is_empty() || values.contains(value))
        };
        (&self.namespace, &self.name) == (&written.namespace, &written.name)
            && self.dimensions.len() == written.dimensions.len()
            && self.dimensions.iter().all(is_one)
    }
}

/// A filter that counts log lines.
pub struct Filter {
    pub name: String,
    pattern: String,
}

impl Filter {
    /// Whether the line matches: only the forms that the template uses.
    pub fn counts(&self, line: &Json) -> bool {
        let terms = self.pattern.trim_start_matches('{').trim_end_matches('}');
        terms.split("&&").all(|term| {
            let term = term.trim().strip_prefix("$.").unwrap();
            let (field, condition) = term.split_once(' ').unwrap();
            match condition.split_once(' ').unwrap() {
                ("NOT", "EXISTS") => line[field].is_null(),
                ("=", text) => line[field].as_str() == Some(text.trim_matches('"')),
                ("!=", text) => line[field].is_string() && line[field].as_str() != Some(text.trim_matches('"')),
                other => panic!("{other:?} is not supported"),
            }
        })
    }
}

/// The template's text, or that of a tag such as `!Ref`.
fn text(value: &Value) -> &str {
    match value {
        Value::Tagged(tagged) => tagged.value.as_str().unwrap(),
        value => value.as_str().unwrap(),
    }
}

fn resources(kind: &str) -> Vec<(String, Value)> {
    let mut template: Value = yaml_serde::from_str(&std::fs::read_to_string(project_path()).unwrap()).unwrap();
    template.apply_merge().unwrap();
    let resources = template["Resources"].as_mapping().unwrap().iter();
    let of_kind = resources.filter(|(_, resource)| resource["Type"].as_str() == Some(kind));
    of_kind.map(|(name, resource)| (text(name).to_owned(), resource["Properties"].clone())).collect()
}

/// The filters of the template.
pub fn filters() -> Vec<Filter> {
    let filters = resources("AWS::Logs::MetricFilter").into_iter();
    let filter = |(_, properties): (String, Value)| {
        let metric = &properties["MetricTransformations"][0];
        assert_eq!(text(&metric["MetricNamespace"]), OF_LINES);
        Filter { name: text(&metric["MetricName"]).to_owned(), pattern: text(&properties["FilterPattern"]).to_owned() }
    };
    filters.map(filter).collect()
}

/// All metrics of the service that alarms or the dashboard name.
pub fn named() -> BTreeSet<Named> {
    let mut named: BTreeSet<Named> =
        resources("AWS::CloudWatch::Alarm").iter().flat_map(|(_, it)| of_alarm(it)).collect();
    let (_, dashboard) = resources("AWS::CloudWatch::Dashboard").pop().unwrap();
    let body = of_text(text(&dashboard["DashboardBody"]));
    for widget in body["widgets"].as_array().unwrap() {
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            named.extend(of_widget(metric.as_array().unwrap()));
        }
    }
    named.retain(|metric| metric.namespace.starts_with("Orders"));
    named
}

/// The dashboard with logical ids in place of what they refer to.
fn of_text(body: &str) -> Json {
    let mut json = String::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, next) = after.split_once('}').unwrap();
        json += before;
        json += if name == "AWS::StackName" { "${AWS::StackName}" } else { name };
        rest = next;
    }
    serde_json::from_str(&(json + rest)).unwrap()
}

fn of_alarm(properties: &Value) -> Vec<Named> {
    let metrics: Vec<&Value> = match properties.get("Metrics") {
        Some(queries) => {
            let queries = queries.as_sequence().unwrap().iter();
            queries.filter_map(|query| query.get("MetricStat")).map(|stat| &stat["Metric"]).collect()
        }
        None => vec![properties],
    };
    let dimension = |dimension: &Value| {
        // Only the dimensions of our own metrics are read.
        let value = match &dimension["Value"] {
            Value::Tagged(tagged) => tagged.value.as_str().unwrap_or_default().to_owned(),
            value => text(value).to_owned(),
        };
        (text(&dimension["Name"]).to_owned(), BTreeSet::from([value]))
    };
    let named = |metric: &&Value| Named {
        namespace: text(&metric["Namespace"]).to_owned(),
        name: text(&metric["MetricName"]).to_owned(),
        dimensions: metric["Dimensions"].as_sequence().into_iter().flatten().map(dimension).collect(),
    };
    metrics.iter().map(named).collect()
}

fn of_widget(metric: &[Json]) -> Option<Named> {
    if let Some(expression) = metric[0]["expression"].as_str() {
        return of_search(expression);
    }
    let mut texts = metric.iter().filter_map(|each| each.as_str().map(str::to_owned));
    let (namespace, name) = (texts.next()?, texts.next()?);
    let mut dimensions = BTreeMap::new();
    while let (Some(dimension), Some(value)) = (texts.next(), texts.next()) {
        dimensions.insert(dimension, BTreeSet::from([value]));
    }
    Some(Named { namespace, name, dimensions })
}

/// `SEARCH('{Orders,FunctionName,Rule} MetricName="…" FunctionName=("…" OR "…")', …)`.
fn of_search(expression: &str) -> Option<Named> {
    let (_, search) = expression.split_once("SEARCH('{")?;
    let (schema, rest) = search.split_once("} MetricName=\"").unwrap();
    let (name, functions) = rest.split_once("\" FunctionName=(").unwrap();
    let functions: BTreeSet<String> = functions.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let (namespace, dimensions) = schema.split_once(',').unwrap();
    let values = |dimension: &str| if dimension == "FunctionName" { functions.clone() } else { BTreeSet::new() };
    let dimensions = dimensions.split(',').map(|dimension| (dimension.to_owned(), values(dimension))).collect();
    Some(Named { namespace: namespace.to_owned(), name: name.to_owned(), dimensions })
}

/// The metrics in a line of the embedded metric format; none in other lines.
pub fn written(line: &Json) -> Vec<Written> {
    let mut written = Vec::new();
    for directive in line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten() {
        let dimensions = directive["Dimensions"][0].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let dimensions: BTreeMap<String, String> =
            dimensions.map(|name| (name.to_owned(), line[name].as_str().unwrap().to_owned())).collect();
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            assert!(line[name].is_number() || line[name].is_array(), "{line}");
            let namespace = directive["Namespace"].as_str().unwrap().to_owned();
            written.push(Written { namespace, name: name.to_owned(), dimensions: dimensions.clone() });
        }
    }
    written
}
