//! IAM: whether a caller may call an action on a resource, as AWS decides it.
//!
//! A function has the policies of its role, and credentials of its own. Every other client is an administrator of the
//! account, whose access key is the name of its role: `local`, or the break-glass role. Policies of resources apply to all.

mod known;
mod statement;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use iam_rs::{Arn, Context, IAMRequest, Principal, PrincipalId};
use uuid::Uuid;

pub use statement::{PolicyError, PolicyKind, Statement};

/// A function or a state machine, and what its role allows.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its logical id.
    pub name: String,
    /// ARN of its role.
    pub role: String,
    /// The statements that the template writes out, in order.
    pub statements: Vec<Statement>,
    /// Statements of managed policies, and those that SAM adds.
    pub implied: Vec<Statement>,
}

/// Credentials as Lambda gives them to a function.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access key.
    pub access_key: String,
    /// The secret key. Signatures are not verified.
    pub secret_key: String,
    /// The session token.
    pub session_token: String,
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A function or a state machine.
    Identity(Arc<Identity>),
    /// A role that the account's administrator has, by its ARN.
    Administrator(String),
    /// A service of AWS (`events.amazonaws.com`), for the resource of this ARN.
    Service(&'static str, String),
}

/// A call that needs permission.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// `dynamodb:PutItem`.
    pub action: String,
    /// ARN of the resource.
    pub resource: String,
    /// Condition keys of the call, beyond those of the caller.
    pub context: Vec<(&'static str, String)>,
}

/// A call was denied. The text is that of AWS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("User: {user} is not authorized to perform: {action} on resource: {resource} {reason}")]
pub struct Denied {
    /// ARN of the caller.
    pub user: String,
    /// The function or state machine, if it is one.
    pub identity: Option<String>,
    /// The action.
    pub action: String,
    /// ARN of the resource.
    pub resource: String,
    /// Why, in the words of AWS.
    pub reason: String,
    /// What to do: the missing statement, or the policy that denies.
    pub remedy: String,
}

/// What a check found, for an observer.
#[derive(Clone, Copy, Debug)]
pub enum Checked<'a> {
    /// A statement of a function allowed a call: its number, and the places of action and resource in its lists.
    Allowed {
        /// The function.
        identity: &'a str,
        /// The statement.
        statement: usize,
        /// The action.
        action: usize,
        /// The resource.
        resource: usize,
    },
    /// A call of a function was denied.
    Denied(&'a Denied),
}

/// Is told every decision about a function.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Checked<'_>) + Send + Sync>);

impl Observer {
    /// An observer that calls this.
    pub fn new(observe: impl Fn(Checked<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// The policies of a stack. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Iam(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    account: String,
    identities: BTreeMap<String, Arc<Identity>>,
    credentials: BTreeMap<String, Credentials>,
    by_access_key: HashMap<String, Arc<Identity>>,
    /// Policies of resources, by the resource's ARN.
    resources: BTreeMap<String, Vec<Statement>>,
    /// ARNs as the template writes them (`!GetAtt Orders.Arn`).
    names: BTreeMap<String, String>,
    observer: Option<Observer>,
    decisions: Mutex<HashMap<(String, Call), Decision>>,
}

/// A decision about a function, and the statement that allowed it, with the places in its lists.
type Decision = Result<Option<(usize, usize, usize)>, Denied>;

/// Most decisions that are remembered.
const MOST_DECISIONS: usize = 10_000;

impl Iam {
    /// The policies of these identities, and of resources by their ARNs. `names` has ARNs as the template writes them.
    pub fn new(
        account: &str,
        identities: Vec<Identity>,
        resources: BTreeMap<String, Vec<Statement>>,
        names: BTreeMap<String, String>,
        observer: Option<Observer>,
    ) -> Self {
        let identities: BTreeMap<_, _> =
            identities.into_iter().map(|identity| (identity.name.clone(), Arc::new(identity))).collect();
        let random = || Uuid::new_v4().simple().to_string().to_uppercase();
        let credentials: BTreeMap<_, _> = identities
            .keys()
            .map(|name| {
                let access_key = format!("ASIA{}", &random()[..16]);
                (name.clone(), Credentials { access_key, secret_key: random(), session_token: random() })
            })
            .collect();
        let by_access_key =
            credentials.iter().map(|(name, own)| (own.access_key.clone(), identities[name].clone())).collect();
        let (account, decisions) = (account.to_owned(), Mutex::default());
        Self(Arc::new(Inner { account, identities, credentials, by_access_key, resources, names, observer, decisions }))
    }

    /// The credentials of a function.
    pub fn credentials(&self, name: &str) -> Option<&Credentials> {
        self.0.credentials.get(name)
    }

    /// The function or state machine of that logical id.
    pub fn identity(&self, name: &str) -> Option<Caller> {
        self.0.identities.get(name).cloned().map(Caller::Identity)
    }

    /// The owner of an access key.
    pub fn caller(&self, access_key: &str) -> Caller {
        match self.0.by_access_key.get(access_key) {
            Some(identity) => Caller::Identity(identity.clone()),
            None => Caller::Administrator(format!("arn:aws:iam::{}:role/{access_key}", self.0.account)),
        }
    }

    /// Whether the caller may make the call. A denied call of a function is logged, with the statement that it lacks.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check(&self, caller: &Caller, call: &Call) -> Result<(), Denied> {
        let Caller::Identity(identity) = caller else { return self.decide(caller, call).map(drop) };
        let key = (identity.name.clone(), call.clone());
        let known = self.decisions().get(&key).cloned();
        let decision = known.unwrap_or_else(|| {
            let decision = self.decide(caller, call);
            let mut decisions = self.decisions();
            if decisions.len() >= MOST_DECISIONS {
                decisions.clear();
            }
            decisions.insert(key, decision.clone());
            decision
        });
        let observe = |checked: Checked<'_>| self.0.observer.iter().for_each(|observer| (observer.0)(checked));
        match &decision {
            Ok(Some((statement, action, resource))) => observe(Checked::Allowed {
                identity: &identity.name,
                statement: *statement,
                action: *action,
                resource: *resource,
            }),
            Ok(None) => {}
            Err(denied) => {
                let Denied { action, resource, remedy, .. } = denied;
                tracing::error!("{} may not call {action} on {resource}: {remedy}", identity.name);
                observe(Checked::Denied(denied));
            }
        }
        decision.map(drop)
    }

    fn decisions(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Call), Decision>> {
        self.0.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An explicit denial wins; otherwise the policy of the role or that of the resource must allow the call.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>
    fn decide(&self, caller: &Caller, call: &Call) -> Decision {
        let Some(request) = self.request(caller, call) else {
            return Err(self.denied(caller, call, "because the resource is not known".into(), String::new()));
        };
        let of_resource = self.resource_policy(&call.resource);
        let (own, implied) = match caller {
            Caller::Identity(identity) => (identity.statements.as_slice(), identity.implied.as_slice()),
            Caller::Administrator(_) | Caller::Service(..) => (&[][..], &[][..]),
        };
        let applies = |statement: &&Statement| statement.applies(&request);
        for (policy, statements) in [("resource", of_resource), ("identity", own), ("identity", implied)] {
            if statements.iter().filter(|statement| statement.denies()).any(|statement| applies(&statement)) {
                let reason = format!("with an explicit deny in a {policy}-based policy");
                return Err(self.denied(caller, call, reason, format!("the {policy}'s policy denies it")));
            }
        }
        let allowing = |statements: &[Statement]| {
            statements.iter().position(|statement| !statement.denies() && statement.applies(&request))
        };
        if let Some(number) = allowing(own) {
            let place = own[number].place(&call.action, &call.resource);
            return Ok(place.map(|(action, resource)| (number, action, resource)));
        }
        if allowing(implied).is_some() || allowing(of_resource).is_some() || matches!(caller, Caller::Administrator(_)) {
            return Ok(None);
        }
        let kind = if matches!(caller, Caller::Service(..)) { "resource" } else { "identity" };
        let reason = format!("because no {kind}-based policy allows the {} action", call.action);
        Err(self.denied(caller, call, reason, format!("add to its policy:\n  {}", self.missing(call))))
    }

    fn request(&self, caller: &Caller, call: &Call) -> Option<IAMRequest> {
        // Every client of AWS uses TLS.
        let mut context = Context::new().with_boolean("aws:SecureTransport", true);
        for (key, value) in &call.context {
            context = context.with_string(*key, value.as_str());
        }
        let role = |context: Context, arn: &str| {
            let context = context.with_string("aws:PrincipalAccount", self.0.account.as_str());
            (context.with_string("aws:PrincipalArn", arn), Principal::Aws(PrincipalId::String(arn.to_owned())))
        };
        let (context, principal) = match caller {
            Caller::Identity(identity) => role(context, &identity.role),
            Caller::Administrator(arn) => role(context, arn),
            Caller::Service(name, source) => {
                let context = context.with_string("aws:SourceAccount", self.0.account.as_str());
                let principal = Principal::Service(PrincipalId::String((*name).to_owned()));
                (context.with_string("aws:SourceArn", source.as_str()), principal)
            }
        };
        let resource = Arn::parse(&call.resource).ok()?;
        Some(IAMRequest::new_with_context(principal, call.action.as_str(), resource, context))
    }

    /// The policy of the resource, or of the table that the index belongs to.
    fn resource_policy(&self, arn: &str) -> &[Statement] {
        let owner = arn.split_once("/index/").map_or(arn, |(table, _)| table);
        self.0.resources.get(owner).map_or(&[], Vec::as_slice)
    }

    fn denied(&self, caller: &Caller, call: &Call, reason: String, remedy: String) -> Denied {
        let (user, identity) = match caller {
            Caller::Identity(identity) => {
                let role = identity.role.rsplit('/').next().unwrap_or_default();
                let user = format!("arn:aws:sts::{}:assumed-role/{role}/{}", self.0.account, identity.name);
                (user, Some(identity.name.clone()))
            }
            Caller::Administrator(role) => (role.clone(), None),
            Caller::Service(name, _) => ((*name).to_owned(), None),
        };
        let Call { action, resource, .. } = call.clone();
        Denied { user, identity, action, resource, reason, remedy }
    }

    /// The statement that allows a call, as the template would have it.
    fn missing(&self, Call { action, resource, context }: &Call) -> String {
        let longest = self.0.names.iter().filter(|(arn, _)| resource.starts_with(*arn)).max_by_key(|(arn, _)| arn.len());
        let resource = match longest {
            Some((arn, name)) if arn == resource => format!("!GetAtt {name}"),
            Some((arn, name)) => format!("!Sub \"${{{name}}}{}\"", &resource[arn.len()..]),
            None => resource.clone(),
        };
        let source = context.iter().find(|(key, _)| *key == "events:source");
        let condition = source
            .map(|(key, value)| format!(", Condition: {{StringEquals: {{\"{key}\": {value}}}}}"))
            .unwrap_or_default();
        format!("- {{Effect: Allow, Action: {action}, Resource: {resource}{condition}}}")
    }
}
