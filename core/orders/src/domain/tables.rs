//! What every command leads to, and which events are valid, in every state of an order.
//!
//! The tables are Markdown files. A cell that has been written stays: a different result fails the test, and the cell is
//! edited by hand where the rule has really changed. `UPDATE_GOLDEN=1` adds the rows and columns that are missing, for
//! review.

use std::collections::{BTreeMap, BTreeSet};

use super::error::DecisionError;
use super::event::OrderEvent;
use super::harness::*;
use super::transition::BrokenRule;
use super::{COMMANDS, Status, golden};

/// Compares the table in a file with what `cell` finds for each row and history.
fn check(file: &str, intro: &str, rows: &[String], cell: impl Fn(usize, &[OrderEvent]) -> String) {
    let written = parse(&golden::read_text(file).unwrap_or_default());
    let mut wrong = Vec::new();
    let mut lines =
        vec![["".to_owned()].into_iter().chain(histories().iter().map(|(state, _)| (*state).to_owned())).collect()];
    let mut found = BTreeMap::new();
    for (n, row) in rows.iter().enumerate() {
        let mut line = vec![row.clone()];
        for (state, history) in histories() {
            let (place, result) = ((row.clone(), state.to_owned()), cell(n, &history));
            if let Some(expected) = written.get(&place).filter(|expected| **expected != result) {
                wrong.push(format!("{row}, when {state}: {result} instead of {expected}"));
            }
            line.push(result.clone());
            found.insert(place, result);
        }
        lines.push(line);
    }
    assert!(wrong.is_empty(), "{file}: edit the cell if the rule has changed\n{}", wrong.join("\n"));
    if golden::updating() && found != written {
        golden::write_text(file, &render(intro, &lines));
    }
    let places = |cells: &BTreeMap<_, _>| cells.keys().cloned().collect::<BTreeSet<_>>();
    let written = parse(&golden::read_text(file).unwrap_or_default());
    assert_eq!(places(&written), places(&found), "{file} has other rows or columns. {}", golden::UPDATE);
}

/// The cells of a table, by row and column.
fn parse(table: &str) -> BTreeMap<(String, String), String> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut lines = table.lines().filter(|line| line.starts_with('|') && !line.starts_with("|-")).map(cells);
    let states = lines.next().unwrap_or_default();
    let row = |line: Vec<String>| {
        let cells = states.iter().zip(line.clone()).skip(1);
        cells.map(move |(state, cell)| ((line[0].clone(), state.clone()), cell)).collect::<Vec<_>>()
    };
    lines.flat_map(row).collect()
}

fn render(intro: &str, lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
    let line = |line: &Vec<String>| {
        let cells = line.iter().enumerate().map(|(column, cell)| format!(" {cell:<width$} |", width = width(column)));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule: String = (0..lines[0].len()).map(|column| format!("{}|", "-".repeat(width(column) + 2))).collect();
    let (head, rows) = (line(&lines[0]), lines[1..].iter().map(line).collect::<String>());
    format!("{intro}\n\n{head}|{rule}\n{rows}")
}

fn decision(decided: Result<Vec<OrderEvent>, DecisionError>) -> String {
    match decided {
        Ok(events) if events.is_empty() => "-".to_owned(),
        Ok(events) => events.iter().map(short).collect::<Vec<_>>().join("+"),
        Err(error) => format!("!{}", rejection(error.code())),
    }
}

fn short(event: &OrderEvent) -> &'static str {
    match event.name() {
        "OrderRefundDue" => "Due",
        name => name.trim_start_matches("Order").trim_start_matches("Payment"),
    }
}

/// The name of a rejection, shortened where the table would become too wide.
fn rejection(code: &str) -> &str {
    match code {
        "not-found" => "found",
        "order-exists" => "new",
        "total-not-positive" => "positive",
        "order-not-cancellable" => "open",
        "payment-in-progress" => "busy",
        "payment-unverified" => "unknown",
        "amount-mismatch" => "total",
        "payment-amount-differs" => "amount",
        "refund-not-due" => "due",
        "refund-amount-differs" => "owed",
        "already-refunded" => "refund",
        "refund-of-other-payment" => "used",
        code => code.trim_start_matches("order-not-"),
    }
}

#[test]
fn every_command_in_every_state() {
    let examples = examples();
    let commands: BTreeSet<_> = examples.iter().map(|(_, command)| command.name()).collect();
    assert_eq!(commands, BTreeSet::from(COMMANDS), "add the command to harness::examples");
    let rows: Vec<_> = examples.iter().map(|(row, _)| (*row).to_owned()).collect();
    let intro = "What every command leads to in every state of an order: the events in one commit; `-` for success without\n\
                 an event, `!` for a rejection. `other` is an amount that is not the total, `c-` a cancelled order.";
    check("src/domain/golden/decisions.md", intro, &rows, |row, history| {
        decision(examples[row].1.decide(&replay(history), now()))
    });
}

fn rule(broken: &BrokenRule) -> &'static str {
    match broken {
        BrokenRule::NotCreated => "none",
        BrokenRule::CreatedTwice => "twice",
        BrokenRule::OtherOrder(_) => "order",
        BrokenRule::Status(_) => "status",
        BrokenRule::Amount { .. } => "amount",
        BrokenRule::PaymentDeferred(_) => "deferred",
        BrokenRule::PaymentCaptured(_) => "captured",
        BrokenRule::NoRefundDue(_) => "nodue",
    }
}

#[test]
fn every_event_is_valid_in_the_right_states_only() {
    let events = variants(&["p1", "p2"], &[TOTAL, OTHER]);
    let row = |event: &OrderEvent| {
        let payment = event.payment_id().map(|payment_id| format!(" {payment_id}")).unwrap_or_default();
        let data = serde_json::to_value(event).unwrap()["data"].take();
        let other = if data.get("amount").is_some_and(|amount| *amount == OTHER.0) { " other" } else { "" };
        format!("{}{payment}{other}", short(event))
    };
    let intro = "Whether an event is valid in a state of an order, and if not, the rule that it breaks. `other` is an amount\n\
                 that is not the total, `c-` a cancelled order.";
    check("src/domain/golden/transitions.md", intro, &events.iter().map(row).collect::<Vec<_>>(), |row, history| {
        let (before, mut order) = (replay(history), replay(history));
        match order.apply(&events[row]) {
            Ok(()) => "yes".to_owned(),
            Err(error) => {
                assert_eq!(order, before, "{:?} was rejected, and changed the order", events[row]);
                rule(&error.broken).to_owned()
            }
        }
    });
}

#[test]
fn the_histories_have_every_event_and_reach_every_status() {
    let histories = histories();
    let events: BTreeSet<_> = histories.iter().flat_map(|(_, history)| history).map(OrderEvent::name).collect();
    assert_eq!(events, BTreeSet::from(OrderEvent::NAMES), "add a history to harness::histories");
    let statuses: BTreeSet<_> =
        histories.iter().filter_map(|(_, history)| Some(replay(history).placed()?.status)).collect();
    assert_eq!(statuses, BTreeSet::from(Status::ALL), "add a history to harness::histories");
}
