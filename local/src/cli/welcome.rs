//! The text that is printed at the start: what runs, and a curl line for each route.

use std::path::{Path, PathBuf};
use std::time::Duration;

use orders_local::gateway::tokens::CALLERS;
use orders_local::stack::Stack;
use orders_local::template::{Function, Route, Template};
use serde_json::Value;

/// What survives the end of the stack.
#[derive(Debug)]
pub struct Persistence {
    /// Whether the tables are in an external DynamoDB.
    pub external: bool,
    /// The data directory.
    pub directory: Option<PathBuf>,
}

impl Persistence {
    /// Where the tables are, and where the rest is.
    fn describe(&self) -> (String, String) {
        let rest = match &self.directory {
            Some(directory) => format!("stored in {}", directory.display()),
            None => "not stored without --data DIR".to_owned(),
        };
        (if self.external { "external".to_owned() } else { rest.clone() }, rest)
    }
}

/// The text. The curl lines use the functions' example events, which are in the directory `events`.
pub fn text(stack: &Stack, persistence: &Persistence, events: &Path, took: Duration) -> String {
    let (url, template, (tables, rest)) = (stack.url(), stack.template(), persistence.describe());
    let mut text = format!(
        "The order service is running, after {} ms.\n\n  Console   {url}/\n  API       {url}\n  DynamoDB  {}  ({})\n  Tables    {}\n",
        took.as_millis(),
        stack.dynamodb(),
        tables,
        join(template.tables.iter().map(|table| table.name.as_str()))
    );
    for function in &template.functions {
        for stream in &function.streams {
            text += &format!("  Stream    {} -> {}\n", stream.table, function.binary);
        }
    }
    for rule in &template.rules {
        let target = template.functions.iter().find(|function| function.arn() == rule.target);
        let queue = rule.target.rsplit(':').next().unwrap_or_default();
        text += &format!("  Bus       {} -> {}\n", rule.bus, target.map_or(queue, |function| &function.binary));
    }
    for function in template.functions.iter().filter(|function| !function.schedules.is_empty()) {
        text += &format!("  Schedule  -> {}\n", function.binary);
    }
    if template
        .functions
        .iter()
        .any(|function| function.environment.values().any(|value| value == stack.payments_url()))
    {
        text += &format!("  Payments  {}, controlled by {url}/dev/payments\n", stack.payments_url());
    }
    text += &format!("  Failures  queues, failed records, checkpoints of streams: {}\n", rest);
    text += "  Events    cargo run -- events, in a second terminal, follows them\n";
    text += &format!("  About     {url}/dev/stack\n\nTokens, also at {url}/dev/tokens/NAME:\n\n");
    for caller in &CALLERS {
        let token = stack.tokens().get(caller.name).map_or("", String::as_str);
        let may = join(caller.scopes.iter().copied());
        text += &format!("  {}: {}, scopes {may}\n    {token}\n", caller.name, caller.sub);
    }
    text += "\nAn order's life, line by line, in a second terminal:\n\n";
    for (function, route) in walk(template) {
        let event = event(&events.join(format!("{}.json", function.binary)));
        let what = function.description.as_deref().unwrap_or(&function.logical_id);
        text += &format!("# {what}\n{}\n\n", curl(url, template, route, &event));
    }
    text += "Ctrl-C stops everything.";
    text
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn event(path: &Path) -> Value {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// The routes in the order of the template, which is that of an order's life. Each GET has a HEAD beside it.
fn walk(template: &Template) -> impl Iterator<Item = (&Function, &Route)> {
    let routes =
        template.functions.iter().flat_map(|function| function.routes.iter().map(move |route| (function, route)));
    routes.filter(|(_, route)| route.method != "HEAD")
}

/// A curl line. The one that creates an order sets `$order`, which the others use.
fn curl(url: &str, template: &Template, route: &Route, event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let subject = text("/requestContext/authorizer/jwt/claims/sub");
    let may = |scopes: &[&str]| route.scopes.iter().any(|wanted| scopes.iter().any(|scope| wanted.ends_with(scope)));
    let caller = CALLERS
        .iter()
        .find(|caller| Some(caller.sub) == subject)
        .or_else(|| CALLERS.iter().find(|caller| may(caller.scopes)));
    let path: Vec<&str> = route
        .path
        .split('/')
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some("id") => "$order",
            Some(name) => text(&format!("/pathParameters/{name}")).unwrap_or(part),
            None => part,
        })
        .collect();
    let query = text("/rawQueryString").filter(|query| !query.is_empty()).map(|query| format!("?{query}"));
    let mut line = format!("curl -sS -X {} \"{url}{}{}\"", route.method, path.join("/"), query.unwrap_or_default());
    if let Some(caller) = caller {
        line += &format!(" -H \"authorization: Bearer $(curl -sS {url}/dev/tokens/{})\"", caller.name);
    }
    if let Some(body) = text("/body") {
        line += &format!(" -H 'content-type: application/json' -d '{}'", body.replace('\'', "'\\''"));
    }
    let creates = route.method == "POST"
        && template
            .functions
            .iter()
            .flat_map(|f| &f.routes)
            .any(|other| other.path == format!("{}/{{id}}", route.path));
    if creates {
        format!("order=$({line} | tee /dev/stderr | sed 's/.*\"order_id\":\"\\([^\"]*\\)\".*/\\1/'); echo")
    } else {
        format!("{line}; echo")
    }
}

#[cfg(test)]
mod tests {
    use orders_local::template::{TemplateOptions, project_path};
    use serde_json::json;

    use super::*;

    fn template() -> Template {
        Template::load(&project_path(), &TemplateOptions::default()).unwrap()
    }

    fn line(function: &str, event: &Value) -> String {
        let template = template();
        curl("http://h:1", &template, &template.function(function).unwrap().routes[0], event)
    }

    #[test]
    fn every_route_of_the_project_has_a_line_and_an_event_with_all_that_its_line_needs() {
        let template = template();
        let events = project_path().with_file_name("events");
        for (function, route) in walk(&template) {
            let event = event(&events.join(format!("{}.json", function.binary)));
            let line = curl("http://h:1", &template, route, &event);
            let subject = event.pointer("/requestContext/authorizer/jwt/claims/sub").and_then(Value::as_str);
            assert!(CALLERS.iter().any(|caller| Some(caller.sub) == subject), "{}: {subject:?}", function.binary);
            assert!(!line.contains('{') || line.contains("-d '{"), "{line}");
        }
        assert_eq!(walk(&template).next().unwrap().0.binary, "create-order");
    }

    #[test]
    fn the_text_says_what_is_stored_under_every_option() {
        for (external, directory, tables, rest) in [
            (false, None, "not stored without --data DIR", "not stored without --data DIR"),
            (false, Some("d"), "stored in d", "stored in d"),
            (true, None, "external", "not stored without --data DIR"),
            (true, Some("d"), "external", "stored in d"),
        ] {
            let persistence = Persistence { external, directory: directory.map(PathBuf::from) };
            assert_eq!(persistence.describe(), (tables.to_owned(), rest.to_owned()));
        }
    }

    #[test]
    fn a_line_fetches_its_token_and_has_the_body_and_query_of_the_event() {
        let event = json!({"rawQueryString": "a=1&b=2", "body": "{\"reason\": \"it's late\"}"});
        assert_eq!(
            line("cancel-order", &event),
            "curl -sS -X POST \"http://h:1/orders/$order/cancel?a=1&b=2\" \
             -H \"authorization: Bearer $(curl -sS http://h:1/dev/tokens/customer)\" \
             -H 'content-type: application/json' -d '{\"reason\": \"it'\\''s late\"}'; echo"
        );
        assert!(line("create-order", &json!({})).starts_with("order=$(curl "));
    }
}
