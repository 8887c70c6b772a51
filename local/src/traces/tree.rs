//! Spans as a tree of lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Found, Span};

/// The most characters of a name or an outcome that are shown.
const WIDTH: usize = 100;
/// The column of the function.
const COLUMN: usize = 64;

impl Found {
    /// The traces, one after the other, each as a tree: operation, function, milliseconds, outcome.
    pub fn tree(&self) -> String {
        let ids: BTreeSet<_> = self.spans.iter().map(|span| (&*span.trace_id, &*span.span_id)).collect();
        let mut roots: Vec<_> =
            self.spans.iter().filter(|span| !ids.contains(&(&*span.trace_id, &*span.parent_id))).collect();
        roots.sort_by_key(|span| span.start);
        let mut children: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for span in &self.spans {
            children.entry((&*span.trace_id, &*span.parent_id)).or_default().push(span);
        }
        children.values_mut().for_each(|spans| spans.sort_by_key(|span| span.start));
        let mut lines = String::new();
        let mut trace = "";
        for root in roots.into_iter().filter(|root| self.shows(root)) {
            if trace != root.trace_id {
                trace = &root.trace_id;
                _ = writeln!(lines, "trace {}", plain(trace));
            }
            self.branch(&mut lines, root, &children, "", "");
        }
        lines
    }

    fn branch(
        &self,
        lines: &mut String,
        span: &Span,
        children: &BTreeMap<(&str, &str), Vec<&Span>>,
        indent: &str,
        mark: &str,
    ) {
        _ = writeln!(lines, "{}", line(span, &format!("{indent}{mark}")));
        let indent = match mark {
            "" => indent.to_owned(),
            "└─ " => format!("{indent}   "),
            _ => format!("{indent}│  "),
        };
        let below = children.get(&(&*span.trace_id, &*span.span_id)).map(Vec::as_slice).unwrap_or_default();
        let below: Vec<_> = below.iter().filter(|span| self.shows(span)).collect();
        for (place, child) in below.iter().enumerate() {
            let mark = if place + 1 == below.len() { "└─ " } else { "├─ " };
            self.branch(lines, child, children, &indent, mark);
        }
    }

    /// A span of a batch or of a schedule may be about another order.
    fn shows(&self, span: &Span) -> bool {
        self.orders.is_empty() || span.order_id().is_none_or(|order_id| self.orders.contains(order_id))
    }
}

fn line(span: &Span, indent: &str) -> String {
    let attribute = |name: &str| span.attributes.get(name).map(|value| plain(value));
    let table = attribute("db.collection.name").map(|table| format!(" {table}")).unwrap_or_default();
    let name = format!("{indent}{}{table}", plain(&span.name));
    let milliseconds = span.end.saturating_sub(span.start) as f64 / 1e6;
    let outcome = [
        attribute("http.response.status_code"),
        attribute("outcome"),
        attribute("allowed").map(|allowed| if allowed == "true" { "allowed" } else { "rejected" }.to_owned()),
        attribute("error.type").filter(|error| attribute("http.response.status_code").as_ref() != Some(error)),
        attribute("aws.dynamodb.capacity_units").map(|units| format!("{units} units")),
        span.failed.then(|| "failed".to_owned()),
    ];
    let outcome: Vec<_> = outcome.into_iter().flatten().collect();
    let padding = COLUMN.saturating_sub(name.chars().count());
    let line =
        format!("{name}{:padding$} {:<20} {milliseconds:>8.1} ms  {}", "", plain(&span.function), outcome.join(", "));
    line.trim_end().to_owned()
}

/// Text of a program, as it can stand in a terminal.
fn plain(text: &str) -> String {
    let shown = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
    let mut plain = String::new();
    for c in text.chars().take(WIDTH) {
        if shown(c) { plain.push(c) } else { plain.extend(c.escape_unicode()) }
    }
    if text.chars().nth(WIDTH).is_some() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, name: &str, attributes: &[(&str, &str)]) -> Span {
        Span {
            trace_id: "t".into(),
            span_id: id.into(),
            parent_id: parent.into(),
            name: name.into(),
            function: "PayOrder".into(),
            start: id.len() as u64,
            end: 2_500_000 + id.len() as u64,
            failed: false,
            attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            links: vec![],
        }
    }

    fn tree(orders: &[&str], spans: &[Span]) -> String {
        let lines = Found { orders: orders.iter().map(|id| (*id).to_owned()).collect(), spans: spans.to_vec() }.tree();
        lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
    }

    #[test]
    fn spans_are_a_tree_by_cause_and_time() {
        let spans = [
            span("aaa", "a", "PutItem", &[("db.collection.name", "OrderEvents"), ("aws.dynamodb.capacity_units", "1")]),
            span("aaaa", "aaa", "inner", &[]),
            span("a", "elsewhere", "POST /orders", &[("http.response.status_code", "201")]),
            span("aa", "a", "Query", &[("error.type", "ThrottlingException")]),
        ];
        let expected = "trace t
POST /orders PayOrder 2.5 ms 201
├─ Query PayOrder 2.5 ms ThrottlingException
└─ PutItem OrderEvents PayOrder 2.5 ms 1 units
└─ inner PayOrder 2.5 ms
";
        assert_eq!(tree(&[], &spans), expected);
    }

    #[test]
    fn spans_of_other_orders_are_not_shown() {
        let spans = [
            span("a", "", "invoke", &[]),
            span("aa", "a", "expire mine", &[("order_id", "mine")]),
            span("aaa", "a", "expire other", &[("order_id", "other")]),
            span("aaaa", "aaa", "call for other", &[]),
        ];
        let shown = tree(&["mine"], &spans);
        assert!(shown.contains("expire mine") && !shown.contains("other"), "{shown}");
    }

    #[test]
    fn text_of_spans_cannot_control_the_terminal() {
        let name = format!("\u{1b}[2J\n\u{202e}evil{}", "x".repeat(500));
        let shown = tree(&[], &[span("a", "", &name, &[("error.type", "\r\u{7}")])]);
        assert!(shown.lines().count() == 2 && !shown.contains(['\u{1b}', '\u{202e}', '\r', '\u{7}']), "{shown}");
        assert!(shown.contains(r"\u{1b}[2J\u{a}\u{202e}evil") && shown.chars().count() < 250, "{shown}");
    }

    #[test]
    fn a_span_that_names_itself_as_its_parent_does_no_harm() {
        assert_eq!(tree(&[], &[span("a", "a", "loop", &[]), span("b", "b", "loop", &[])]), "");
    }
}
