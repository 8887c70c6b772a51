//! The expressions that the service sends to DynamoDB.

use serde_json::{Value, json};

/// An item, in DynamoDB's JSON.
pub use crate::ledger::Item;

/// Reads one expression of a request from left to right.
pub struct Expression<'a> {
    tokens: Vec<&'a str>,
    next: usize,
    names: &'a Value,
    values: &'a Value,
    item: &'a Item,
}

impl<'a> Expression<'a> {
    /// The expression `text` of a request, about an item as it is before the request.
    pub fn new(text: &'a str, request: &'a Value, item: &'a Item) -> Self {
        let (names, values) = (&request["ExpressionAttributeNames"], &request["ExpressionAttributeValues"]);
        Self { tokens: tokens(text), next: 0, names, values, item }
    }

    /// Whether the condition holds.
    pub fn holds(mut self) -> bool {
        let holds = self.any();
        assert_eq!(self.next, self.tokens.len(), "{:?}", self.tokens);
        holds
    }

    /// The item after the update.
    pub fn updated(mut self) -> Item {
        let mut item = self.item.clone();
        while let Some(clause) = self.take() {
            loop {
                let name = self.name();
                match clause {
                    "SET" => {
                        self.expect("=");
                        item.insert(name, self.value().clone());
                    }
                    "ADD" => {
                        let sum = item.get(&name).map_or(0, number) + number(self.value());
                        item.insert(name, json!({"N": sum.to_string()}));
                    }
                    "REMOVE" => {
                        item.remove(&name);
                    }
                    _ => panic!("unknown clause {clause}"),
                }
                if !self.skip(",") {
                    break;
                }
            }
        }
        item
    }

    fn any(&mut self) -> bool {
        let mut holds = self.all();
        while self.skip("OR") {
            holds |= self.all();
        }
        holds
    }

    fn all(&mut self) -> bool {
        let mut holds = self.one();
        while self.skip("AND") {
            holds &= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        if self.skip("(") {
            let holds = self.any();
            self.expect(")");
            return holds;
        }
        if self.skip("attribute_not_exists") {
            self.expect("(");
            let absent = self.attribute().is_none();
            self.expect(")");
            return absent;
        }
        let attribute = self.attribute();
        let operator = self.take().expect("an operator");
        let operand = self.value();
        let upper = (operator == "BETWEEN").then(|| {
            self.expect("AND");
            self.value()
        });
        // A comparison with a missing attribute is false.
        let Some(attribute) = attribute else { return false };
        match (operator, upper) {
            ("=", _) => attribute == operand,
            ("<", _) => compare(attribute, operand).is_lt(),
            ("<=", _) => compare(attribute, operand).is_le(),
            (">", _) => compare(attribute, operand).is_gt(),
            (">=", _) => compare(attribute, operand).is_ge(),
            ("BETWEEN", Some(upper)) => compare(attribute, operand).is_ge() && compare(attribute, upper).is_le(),
            _ => panic!("unknown operator {operator}"),
        }
    }

    /// The attribute at a path of names.
    fn attribute(&mut self) -> Option<&'a Value> {
        let mut found = self.item.get(&self.name());
        while self.skip(".") {
            let name = self.name();
            found = found.and_then(|value| value["M"].get(name));
        }
        found
    }

    fn name(&mut self) -> String {
        let token = self.take().expect("a name");
        if token.starts_with('#') {
            self.names[token].as_str().expect("a name's meaning").to_owned()
        } else {
            token.to_owned()
        }
    }

    fn value(&mut self) -> &'a Value {
        let token = self.take().expect("a value");
        self.values.get(token).unwrap_or_else(|| panic!("{token} has no value"))
    }

    fn take(&mut self) -> Option<&'a str> {
        self.next += 1;
        self.tokens.get(self.next - 1).copied()
    }

    fn skip(&mut self, token: &str) -> bool {
        let found = self.tokens.get(self.next) == Some(&token);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &str) {
        assert!(self.skip(token), "expected {token} at {} of {:?}", self.next, self.tokens);
    }
}

/// The order of two values of one type.
pub fn compare(left: &Value, right: &Value) -> std::cmp::Ordering {
    match (left["S"].as_str(), right["S"].as_str()) {
        (Some(left), Some(right)) => left.cmp(right),
        _ => number(left).cmp(&number(right)),
    }
}

fn number(value: &Value) -> i128 {
    let text = value["N"].as_str().unwrap_or_else(|| panic!("{value} is not a number"));
    text.parse().unwrap_or_else(|_| panic!("{value} is not a whole number"))
}

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word = |c: char| c.is_ascii_alphanumeric() || "_#:-".contains(c);
        let run = |kind: &dyn Fn(char) -> bool| rest.find(|c: char| !kind(c)).unwrap_or(rest.len());
        let length = run(&word).max(run(&|c| "<>=".contains(c))).max(1);
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}
