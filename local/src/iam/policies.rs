//! The policies of a stack, and what they decide.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iam_rs::{Arn, Context, IAMRequest, Principal, PrincipalId};

use super::{Call, Caller, Checked, Credentials, Denied, Identity, Observer, Statement, known};

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
type Decision = Result<Option<(usize, usize, usize)>, Box<Denied>>;

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
        let credentials: BTreeMap<_, _> = identities.keys().map(|name| (name.clone(), Credentials::random())).collect();
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
    pub fn check(&self, caller: &Caller, call: &Call) -> Result<(), Box<Denied>> {
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
                let Denied { action, resource, remedy, .. } = denied.as_ref();
                tracing::error!("{} may not call {action} on {resource}: {remedy}", identity.name);
                observe(Checked::Denied(denied));
            }
        }
        decision.map(drop)
    }

    fn decisions(&self) -> MutexGuard<'_, HashMap<(String, Call), Decision>> {
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
        if allowing(implied).is_some() || allowing(of_resource).is_some() || matches!(caller, Caller::Administrator(_))
        {
            return Ok(None);
        }
        let kind = if matches!(caller, Caller::Service(..)) { "resource" } else { "identity" };
        let reason = format!("because no {kind}-based policy allows the {} action", call.action);
        let remedy = if known::is_action(&call.action) {
            format!("add to its policy: {}", self.missing(call))
        } else {
            "the local stack does not know the permission that this request needs".to_owned()
        };
        Err(self.denied(caller, call, reason, remedy))
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

    fn denied(&self, caller: &Caller, call: &Call, reason: String, remedy: String) -> Box<Denied> {
        let user = match caller {
            Caller::Identity(identity) => {
                let role = identity.role.rsplit('/').next().unwrap_or_default();
                format!("arn:aws:sts::{}:assumed-role/{role}/{}", self.0.account, identity.name)
            }
            Caller::Administrator(role) => role.clone(),
            Caller::Service(name, _) => (*name).to_owned(),
        };
        let Call { action, resource, .. } = call.clone();
        Box::new(Denied { user, action, resource, reason, remedy })
    }

    /// The statement that allows a call, as the template would have it.
    fn missing(&self, Call { action, resource, context }: &Call) -> String {
        let inside = |arn: &String| {
            resource.strip_prefix(arn.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let longest = self.0.names.iter().filter(|(arn, _)| inside(arn)).max_by_key(|(arn, _)| arn.len());
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
