//! What IAM decides.

use serde_json::{Value, json};

use std::collections::BTreeMap;

use super::*;

const ACCOUNT: &str = "000000000000";

fn arn(table: &str) -> String {
    format!("arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{table}")
}

fn statements(kind: PolicyKind, list: &[Value]) -> Vec<Statement> {
    list.iter().map(|value| Statement::read(value, kind, ACCOUNT).unwrap()).collect()
}

/// A function `Reader` with these statements, and a table `Events` with this policy.
fn with(identity: &[Value], resource: &[Value]) -> Iam {
    let identity = Identity {
        name: "Reader".into(),
        role: format!("arn:aws:iam::{ACCOUNT}:role/ReaderRole"),
        statements: statements(PolicyKind::Identity, identity),
        implied: Vec::new(),
    };
    let resources = [(arn("Events"), statements(PolicyKind::Resource, resource))].into();
    let names = [(arn("Events"), "Events.Arn".to_owned()), (arn("Event"), "Event.Arn".to_owned())].into();
    Iam::new(ACCOUNT, vec![identity], resources, names, None)
}

/// No functions, and queues `Failed` and `Dead` that rules may send to.
pub(crate) fn iam() -> Iam {
    let allow = json!({
        "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "*",
        "Condition": {"ArnEquals": {"aws:SourceArn": format!("arn:aws:events:us-east-1:{ACCOUNT}:rule/*")}},
    });
    let queue = |name: &str| format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{name}");
    let policy = || statements(PolicyKind::Resource, std::slice::from_ref(&allow));
    let resources = [(queue("Failed"), policy()), (queue("Dead"), policy())].into();
    Iam::new(ACCOUNT, Vec::new(), resources, BTreeMap::new(), None)
}

fn call(action: &str, resource: &str) -> Call {
    Call { action: action.into(), resource: resource.into(), context: Vec::new() }
}

fn allows(iam: &Iam, caller: &Caller, action: &str, resource: &str) -> bool {
    iam.check(caller, &call(action, resource)).is_ok()
}

fn reader(iam: &Iam) -> Caller {
    iam.caller(&iam.credentials("Reader").unwrap().access_key)
}

#[test]
fn a_function_may_do_what_its_role_allows_and_nothing_else() {
    let iam = with(
        &[
            json!({"Effect": "Allow", "Action": ["dynamodb:query", "dynamodb:Get*"], "Resource": arn("Events")}),
            json!({"Effect": "Allow", "NotAction": "dynamodb:PutItem", "Resource": [arn("rows-?"), arn("*/index/x")]}),
        ],
        &[],
    );
    let may = |action: &str, table: &str| allows(&iam, &reader(&iam), action, &arn(table));
    for (action, table) in [
        ("dynamodb:Query", "Events"),
        ("dynamodb:GetItem", "Events"),
        ("dynamodb:Scan", "rows-2"),
        ("dynamodb:Query", "Events/index/x"),
    ] {
        assert!(may(action, table), "{action} {table}");
    }
    for (action, table) in [
        ("dynamodb:PutItem", "Events"),
        ("dynamodb:Query", "Events/index/y"),
        ("dynamodb:PutItem", "rows-2"),
        ("dynamodb:Scan", "rows-22"),
    ] {
        assert!(!may(action, table), "{action} {table}");
    }
}

#[test]
fn an_explicit_denial_wins_over_every_permission() {
    let all = json!({"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"});
    let own = json!({"Effect": "Deny", "Action": "dynamodb:PutItem", "NotResource": arn("Rows")});
    let break_glass = format!("arn:aws:iam::{ACCOUNT}:role/break-glass");
    let table = json!({
        "Effect": "Deny", "Principal": "*", "Action": "dynamodb:UpdateItem", "Resource": "*",
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": break_glass}},
    });
    let iam = with(&[all, own], &[table]);
    let function = reader(&iam);
    assert!(allows(&iam, &function, "dynamodb:Query", &arn("Events")));
    assert!(allows(&iam, &function, "dynamodb:PutItem", &arn("Rows")));
    assert!(!allows(&iam, &function, "dynamodb:PutItem", &arn("Events")));
    let denied = iam.check(&function, &call("dynamodb:UpdateItem", &arn("Events"))).unwrap_err();
    assert!(denied.to_string().ends_with("with an explicit deny in a resource-based policy"), "{denied}");
    assert!(allows(&iam, &function, "dynamodb:UpdateItem", &arn("Rows")));

    let update = |role: &str| allows(&iam, &iam.caller(role), "dynamodb:UpdateItem", &arn("Events"));
    assert!(!update("local") && update("break-glass"), "an administrator is denied as well");
}

#[test]
fn a_resource_allows_its_principals_and_an_account_leaves_it_to_the_roles() {
    let allow = |principal: Value| json!({"Effect": "Allow", "Principal": principal, "Action": "dynamodb:GetItem", "Resource": "*"});
    let role = format!("arn:aws:iam::{ACCOUNT}:role/ReaderRole");
    let may = |principal: Value| {
        let iam = with(&[], &[allow(principal)]);
        allows(&iam, &reader(&iam), "dynamodb:GetItem", &arn("Events"))
    };
    assert!(may(json!("*")) && may(json!({"AWS": "*"})) && may(json!({"AWS": [role, "111111111111"]})));
    for principal in
        [json!({"AWS": ACCOUNT}), json!({"AWS": format!("{role}2")}), json!({"Service": "events.amazonaws.com"})]
    {
        assert!(!may(principal.clone()), "{principal}");
    }
    let deny = json!({"Effect": "Deny", "Principal": {"AWS": ACCOUNT}, "Action": "dynamodb:*", "Resource": "*"});
    let iam = with(&[json!({"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"})], &[deny]);
    assert!(!allows(&iam, &reader(&iam), "dynamodb:GetItem", &arn("Events")), "all roles of the account are denied");
}

#[test]
fn a_service_needs_the_permission_of_the_resource() {
    let iam = iam();
    let rule = |source: &str| Caller::Service("events.amazonaws.com", source.to_owned());
    let queue = format!("arn:aws:sqs:us-east-1:{ACCOUNT}:Failed");
    assert!(allows(&iam, &rule(&format!("arn:aws:events:us-east-1:{ACCOUNT}:rule/b/R")), "sqs:SendMessage", &queue));
    assert!(!allows(&iam, &rule(&format!("arn:aws:s3:us-east-1:{ACCOUNT}:rule/b/R")), "sqs:SendMessage", &queue));
    assert!(!allows(&iam, &Caller::Service("sns.amazonaws.com", String::new()), "sqs:SendMessage", &queue));
}

#[test]
fn a_condition_compares_the_values_of_the_call() {
    let bus = format!("arn:aws:events:us-east-1:{ACCOUNT}:event-bus/b");
    let may = |condition: Value, source: &str| {
        let put = json!({"Effect": "Allow", "Action": "events:PutEvents", "Resource": bus, "Condition": condition});
        let iam = with(&[put], &[]);
        let context = if source.is_empty() { Vec::new() } else { vec![("events:source", source.to_owned())] };
        iam.check(&reader(&iam), &Call { context, ..call("events:PutEvents", &bus) }).is_ok()
    };
    let equals = |operator: &str| json!({ operator: {"events:source": ["orders", "stock"]} });
    for operator in ["StringEquals", "StringEqualsIfExists", "ForAllValues:StringLike", "ForAnyValue:StringEquals"] {
        assert!(may(equals(operator), "orders") && may(equals(operator), "stock"), "{operator}");
        assert!(!may(equals(operator), "payments"), "{operator}");
    }
    assert!(!may(equals("StringEquals"), "") && may(equals("StringEqualsIfExists"), ""));
    assert!(!may(equals("StringNotEquals"), "stock") && may(equals("StringNotEquals"), "payments"));
    assert!(
        may(json!({"Null": {"events:source": "false"}}), "x") && !may(json!({"Null": {"events:source": "false"}}), "")
    );
    assert!(may(json!({"Bool": {"aws:SecureTransport": "true"}}), "x"));
}

#[test]
fn a_denied_call_names_the_missing_statement_as_the_template_has_it() {
    let iam = with(&[], &[]);
    let remedy = |action: &str, resource: &str| iam.check(&reader(&iam), &call(action, resource)).unwrap_err().remedy;
    let statement = |resource: &str| format!("- {{Effect: Allow, Action: dynamodb:Query, Resource: {resource}}}");
    assert!(remedy("dynamodb:Query", &arn("Events")).ends_with(&statement("!GetAtt Events.Arn")));
    let index = statement("!Sub \"${Events.Arn}/index/by-user\"");
    assert!(remedy("dynamodb:Query", &arn("Events/index/by-user")).ends_with(&index));
    assert!(remedy("dynamodb:Query", &arn("Rows")).ends_with(&statement(&arn("Rows"))));
    assert!(!remedy("unknown:DynamoDB_20120810.ListTables", &arn("Rows")).contains("Effect"), "it could not be pasted");
    let denied = iam.check(&reader(&iam), &call("dynamodb:Query", &arn("Rows"))).unwrap_err().to_string();
    let text =
        "User: arn:aws:sts::000000000000:assumed-role/ReaderRole/Reader is not authorized to perform: dynamodb:Query";
    assert!(denied.starts_with(text), "{denied}");
    assert!(denied.ends_with("because no identity-based policy allows the dynamodb:Query action"), "{denied}");
}

#[test]
fn a_statement_an_action_or_a_resource_can_be_left_out() {
    let two =
        json!({"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:Query"], "Resource": [arn("A"), arn("B")]});
    let left = |permission: &str| {
        let mut identity = Identity {
            name: "Reader".into(),
            role: String::new(),
            statements: statements(PolicyKind::Identity, &[two.clone(), two.clone()]),
            implied: Vec::new(),
        };
        let removed = identity.remove(permission);
        let covers = |action: &str, table: &str| identity.statements[0].covers(action, &arn(table));
        (removed, covers("dynamodb:GetItem", "A"), covers("dynamodb:Query", "B"), identity.statements.len())
    };
    assert_eq!(left("Reader.0"), (true, false, false, 2));
    assert_eq!(left("Reader.0.a1"), (true, true, false, 2));
    assert_eq!(left("Reader.0.r0"), (true, false, true, 2));
    for unknown in [
        "Writer.0",
        "Reader.2",
        "Reader",
        "Reader.x",
        "Reader.0.",
        "Reader.0.a2",
        "Reader.0.r2",
        "Reader.0.x0",
        "Reader.0.a1.r0",
    ] {
        assert!(!left(unknown).0, "{unknown}");
    }
}
