//! An interpreter of the update expressions that limiters send. Tests on real engines show that it agrees with DynamoDB.

use std::collections::HashMap;

use super::super::algorithm::{Item, Update};

/// The item after `update`; `None` if its condition does not hold.
///
/// # Panics
/// DynamoDB would reject the expressions.
pub fn apply(update: &Update, item: Option<&Item>) -> Option<Item> {
    holds(update, item).then(|| write(update, item))
}

/// Whether the condition holds for the item.
pub fn holds(update: &Update, item: Option<&Item>) -> bool {
    let mut reader = Reader::new(&update.condition, update, item);
    let holds = reader.any();
    reader.end();
    holds
}

/// The item after the update, ignoring the condition.
pub fn write(update: &Update, item: Option<&Item>) -> Item {
    let mut reader = Reader::new(&update.update, update, item);
    let mut written = item.cloned().unwrap_or_default();
    let mut touched = Vec::new();
    // Every operand is read from the item before the update.
    reader.expect("SET");
    loop {
        let path = reader.path();
        reader.expect("=");
        let value = reader.sum();
        assert!(!touched.contains(&path), "two paths overlap: {path} in {update:?}");
        touched.push(path.clone());
        written.insert(path, value);
        if !reader.skip(",") {
            break;
        }
    }
    if reader.skip("REMOVE") {
        loop {
            let path = reader.path();
            assert!(!touched.contains(&path), "two paths overlap: {path} in {update:?}");
            touched.push(path.clone());
            written.remove(&path);
            if !reader.skip(",") {
                break;
            }
        }
    }
    reader.end();
    let whole = format!("{} {}", update.update, update.condition);
    let used = tokens(&whole);
    let names = update.names.iter().map(|(name, _)| name.as_str()).chain(update.values.iter().map(|(name, _)| *name));
    for name in names {
        assert!(used.contains(&name), "{name} is not used in {update:?}");
    }
    written
}

struct Reader<'a> {
    tokens: Vec<&'a str>,
    next: usize,
    names: HashMap<&'a str, &'a str>,
    values: HashMap<&'a str, i64>,
    item: Option<&'a Item>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, update: &'a Update, item: Option<&'a Item>) -> Self {
        let names = update.names.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
        let values = update.values.iter().copied().collect();
        Self { tokens: tokens(text), next: 0, names, values, item }
    }

    fn peek(&self) -> &'a str {
        self.tokens.get(self.next).copied().unwrap_or_default()
    }

    fn take(&mut self) -> &'a str {
        self.next += 1;
        self.tokens[self.next - 1]
    }

    fn skip(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &str) {
        assert!(self.skip(token), "expected {token} instead of {} in {:?}", self.peek(), self.tokens);
    }

    fn end(&self) {
        assert_eq!(self.next, self.tokens.len(), "{:?} does not end at {}", self.tokens, self.peek());
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
            let path = self.path();
            self.expect(")");
            return self.get(&path).is_none();
        }
        let left = self.operand();
        let operator = self.take();
        let right = self.operand();
        let upper = if operator == "BETWEEN" {
            self.expect("AND");
            self.operand()
        } else {
            right
        };
        // A comparison with a missing attribute is false.
        let (Some(left), Some(right), Some(upper)) = (left, right, upper) else { return false };
        match operator {
            "BETWEEN" => {
                assert!(right <= upper, "the bounds of BETWEEN are in the wrong order");
                right <= left && left <= upper
            }
            "=" => left == right,
            "<=" => left <= right,
            "<" => left < right,
            ">=" => left >= right,
            ">" => left > right,
            _ => panic!("unknown operator {operator}"),
        }
    }

    fn sum(&mut self) -> i64 {
        let mut sum = self.operand().expect("an operand of SET exists");
        while self.skip("+") {
            sum += self.operand().expect("an operand of SET exists");
        }
        sum
    }

    fn operand(&mut self) -> Option<i64> {
        if self.skip("if_not_exists") {
            self.expect("(");
            let path = self.path();
            self.expect(",");
            let default = self.operand();
            self.expect(")");
            return self.get(&path).or(default);
        }
        if self.peek().starts_with(':') {
            let name = self.take();
            return Some(*self.values.get(name).unwrap_or_else(|| panic!("{name} has no value")));
        }
        let path = self.path();
        self.get(&path)
    }

    fn path(&mut self) -> String {
        let token = self.take();
        if token.starts_with('#') {
            return (*self.names.get(token).unwrap_or_else(|| panic!("{token} has no name"))).to_owned();
        }
        assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{token} is not a path");
        token.to_owned()
    }

    fn get(&self, path: &str) -> Option<i64> {
        self.item?.get(path).copied()
    }
}

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word = |c: char| c.is_ascii_alphanumeric() || "_#:".contains(c);
        let operator = |c: char| "<>=".contains(c);
        let run = |kind: &dyn Fn(char) -> bool| rest.find(|c: char| !kind(c)).unwrap_or(rest.len());
        let length = run(&word).max(run(&operator)).max(1);
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}
