//! Rules that an actor's recent calls decide. Everything is kept per actor.

use sentrail_plugin::json::Value;
use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{Burst, DAY, HOUR, MINUTE, RecentSet, Rule, Search, Spread, network};

use crate::Config;
use crate::call::Call;
use crate::rules::*;

/// Length of the window of every burst.
const WINDOW: i64 = 10 * MINUTE;
/// What is reported once an hour at most.
const QUIET: i64 = HOUR;
/// Members that a set remembers: more than any threshold needs.
const MEMBERS: usize = 64;

/// How far back the networks of an instance's session reach; nothing is looked at for longer.
pub const LONGEST: i64 = DAY;

/// Whether a call says anything to the rules here. Most do not, and leave no trace of their actor.
pub fn concern(call: &Call) -> bool {
    (call.failed && is_denial(call.code))
        || call.service.starts_with("bedrock")
        || call.is_instance()
        || is_secret_read(call.operation)
        || once_an_hour(call).is_some()
}

/// What is remembered of an actor.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Actor {
    secrets: Burst,
    parameters: Burst,
    model_calls: Burst,
    model_refusals: Burst,
    models: Spread,
    denied: Spread,
    networks: RecentSet,
    reported: RecentSet,
}

impl Actor {
    /// The rules that this call, on top of those before it, breaks, each with what to say.
    pub fn judge(&mut self, config: &Config, call: &Call, time: i64, found: &mut Vec<(&'static Rule, String)>) {
        if let Some(rule) = once_an_hour(call) {
            let member = format!("{} {}", rule.id, call.failed);
            if self.reported.insert(QUIET, MEMBERS, time, &member).new {
                let how = if call.failed {
                    format!("failed: {}", call.code)
                } else {
                    "succeeded".into()
                };
                found.push((
                    rule,
                    format!("{} by {} ({how}; reported once an hour)", call.operation, call.actor),
                ));
            }
        }
        self.secrets(config, call, time, found);
        if call.service.starts_with("bedrock") {
            self.models(config, call, time, found);
        }
        if call.failed
            && is_denial(call.code)
            && let Some(refused) = self
                .denied
                .insert(WINDOW, time, call.operation, config.denied_operations)
        {
            found.push((
                &DENIED,
                format!("{} was refused {refused} different calls in ten minutes", call.actor),
            ));
        }
        if call.is_instance()
            && let Some(network) = network(call.address)
        {
            let before = self.networks.len();
            if self.networks.insert(LONGEST, MEMBERS, time, &network).new && before > 0 {
                found.push((&INSTANCE_MOVED, format!("{} now acts from {network}", call.actor)));
            }
        }
    }

    fn secrets(&mut self, config: &Config, call: &Call, time: i64, found: &mut Vec<(&'static Rule, String)>) {
        let list = |name: &str| call.request().get(name).and_then(Value::as_array).map_or(1, Vec::len) as u64;
        let amount = match call.operation {
            "GetSecretValue" => 1,
            "BatchGetSecretValue" => list("secretIdList"),
            "GetParameter" | "GetParametersByPath" if decrypts(call) => 1,
            "GetParameters" if decrypts(call) => list("names"),
            _ => return,
        };
        // Two stores, counted apart: a deployment that reads its parameters does not cover up for whoever empties the other.
        let store = if call.service.starts_with("ssm") {
            &mut self.parameters
        } else {
            &mut self.secrets
        };
        if let Some(read) = store.add(WINDOW, time, amount, config.secrets) {
            found.push((&SECRETS, format!("{} read {read} secrets in ten minutes", call.actor)));
        }
    }

    fn models(&mut self, config: &Config, call: &Call, time: i64, found: &mut Vec<(&'static Rule, String)>) {
        if matches!(
            call.operation,
            "InvokeModel" | "InvokeModelWithResponseStream" | "Converse" | "ConverseStream"
        ) {
            if call.failed
                && let Some(refused) = self.model_refusals.add(WINDOW, time, 1, config.model_refusals)
            {
                found.push((
                    &MODEL_DENIED,
                    format!("{refused} model calls of {} failed in ten minutes", call.actor),
                ));
            }
            if let Some(calls) = self.model_calls.add(WINDOW, time, 1, config.model_calls) {
                found.push((
                    &MODEL_BURST,
                    format!("{} made {calls} model calls in ten minutes", call.actor),
                ));
            }
        }
        if let Some(model) = call.text("modelId")
            && let Some(models) = self.models.insert(WINDOW, time, model, config.models)
        {
            found.push((
                &MODEL_ENUMERATION,
                format!("{} tried {models} models in ten minutes", call.actor),
            ));
        }
    }
}

/// What comes in rows and says no more by the tenth.
fn once_an_hour(call: &Call) -> Option<&'static Rule> {
    match call.operation {
        "GetPasswordData" => Some(&PASSWORD_DATA),
        "DescribeInstanceAttribute" if call.text("attribute") == Some("userData") => Some(&USER_DATA),
        "SendCommand" if call.service.starts_with("ssm") => Some(&COMMAND),
        "StartSession" if call.service.starts_with("ssm") => Some(&REMOTE_LOGIN),
        "SendSSHPublicKey" | "SendSerialConsoleSSHPublicKey" => Some(&REMOTE_LOGIN),
        _ if call.actor_type == "Root" && !call.address.ends_with(".amazonaws.com") => Some(&ROOT),
        _ => None,
    }
}

fn is_secret_read(operation: &str) -> bool {
    [
        "GetSecretValue",
        "BatchGetSecretValue",
        "GetParameter",
        "GetParametersByPath",
        "GetParameters",
    ]
    .contains(&operation)
}

fn decrypts(call: &Call) -> bool {
    call.request().get("withDecryption") == Some(&Value::Bool(true))
}

fn is_denial(code: &str) -> bool {
    [
        "AccessDenied",
        "UnauthorizedOperation",
        "NotAuthorized",
        "Forbidden",
        "UnauthorizedAccess",
    ]
    .iter()
    .any(|part| code.holds(part))
}
