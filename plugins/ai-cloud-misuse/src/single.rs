//! Rules that one call decides.

use sentrail_plugin::json::Value;
use sentrail_plugin::{Rule, Search, Severity};

use crate::call::Call;
use crate::rules::*;

/// Azure's services of AI and of what it searches.
const AZURE_AI: [&str; 3] = [
    "microsoft.cognitiveservices/",
    "microsoft.machinelearningservices/",
    "microsoft.search/",
];
/// Google's services that serve models and notebooks.
const GOOGLE_AI: [&str; 4] = [
    "aiplatform.googleapis.com",
    "notebooks.googleapis.com",
    "run.googleapis.com",
    "discoveryengine.googleapis.com",
];

pub type Hit = (&'static Rule, Severity, String);

/// The rule that the call breaks, if any.
pub fn judge(call: &Call) -> Option<Hit> {
    let (rule, severity, what) = aws(call).or_else(|| azure(call)).or_else(|| google(call))?;
    // An attempt that failed shows intent, not effect.
    let severity = if call.failed { severity.lower() } else { severity };
    let attempted = if call.failed { " (failed)" } else { "" };
    Some((
        rule,
        severity,
        format!("{} by {}: {what}{attempted}", call.operation, call.actor),
    ))
}

fn hit(rule: &'static Rule) -> Option<Hit> {
    Some((rule, rule.severity, rule.title.to_owned()))
}

fn aws(call: &Call) -> Option<Hit> {
    if !call.service.ends_with(".amazonaws.com") {
        return None;
    }
    match call.operation.as_str() {
        "putmodelinvocationloggingconfiguration" if call.says(&["datadeliveryenabled\":false"]) => {
            Some((&LOGGING, Severity::Medium, "less of the calls is logged".to_owned()))
        }
        "updateguardrail" if drops_a_filter(call) => hit(&GUARDRAIL),
        "createservicespecificcredential" | "resetservicespecificcredential" if call.says(&["bedrock"]) => {
            hit(&KEY_MADE)
        }
        "createprovisionedmodelthroughput" => hit(&CAPACITY),
        "requestservicequotaincrease" if call.says(&["\"bedrock\"", "\"sagemaker\""]) => hit(&QUOTA),
        "putmodelpackagegrouppolicy" => hit(&EXPORTED),
        "createnotebookinstancelifecycleconfig"
        | "updatenotebookinstancelifecycleconfig"
        | "createstudiolifecycleconfig" => hit(&STARTUP),
        "createsecuritypolicy" | "updatesecuritypolicy"
            if call.service.starts_with("aoss")
                && call.says(&["allowfrompublic\\\":true", "allowfrompublic\":true"]) =>
        {
            hit(&EXPOSED)
        }
        _ => None,
    }
}

/// A filter that no longer stops anything. That of prompt attacks has no strength for answers.
fn drops_a_filter(call: &Call) -> bool {
    let lists = call.all(&["filtersConfig"]);
    let filters = lists.into_iter().filter_map(Value::as_array).flatten();
    let says = |filter: &Value, name: &str, what: &str| filter.get(name).and_then(Value::as_str) == Some(what);
    filters.into_iter().any(|filter| {
        ["inputStrength", "inputAction"]
            .iter()
            .any(|name| says(filter, name, "NONE"))
            || (!says(filter, "type", "PROMPT_ATTACK")
                && ["outputStrength", "outputAction"]
                    .iter()
                    .any(|name| says(filter, name, "NONE")))
    })
}

fn azure(call: &Call) -> Option<Hit> {
    let operation = call.operation.as_str();
    if !operation.starts_with("microsoft.") {
        return None;
    }
    let resource = call.resource.to_ascii_lowercase();
    let of_ai = AZURE_AI
        .iter()
        .any(|service| operation.starts_with(service) || resource.holds(service));
    if operation.ends_with("/federatedidentitycredentials/write") {
        return hit(&TRUST);
    }
    if !of_ai {
        return None;
    }
    match operation {
        _ if operation.ends_with("/raipolicies/delete") || operation.ends_with("/raiblocklists/delete") => {
            hit(&GUARDRAIL)
        }
        _ if operation.ends_with("/raipolicies/write") && call.says(&["\"enabled\":false", "\"blocking\":false"]) => {
            hit(&GUARDRAIL)
        }
        "microsoft.insights/diagnosticsettings/delete" => hit(&LOGGING),
        _ if operation.ends_with("/regeneratekey/action") || operation.ends_with("/regeneratekeys/action") => {
            hit(&KEY_MADE)
        }
        _ if operation.ends_with("/deployments/write") && call.says(&["provisionedmanaged", "globalprovisioned"]) => {
            hit(&CAPACITY)
        }
        _ if operation.ends_with("/write") && call.says(&["\"defaultaction\":\"allow\""]) => {
            Some((&EXPOSED, Severity::Medium, "every network may reach it".to_owned()))
        }
        _ => None,
    }
}

/// Whether the call reads keys of an AI service.
pub fn lists_keys(call: &Call) -> bool {
    let operation = call.operation.as_str();
    AZURE_AI.iter().any(|service| operation.starts_with(service))
        && ["/listkeys/action", "/listadminkeys/action", "/listquerykeys/action"]
            .iter()
            .any(|end| operation.ends_with(end))
}

fn google(call: &Call) -> Option<Hit> {
    let operation = call.operation.rsplit('.').next().unwrap_or_default();
    let service = call.service.as_str();
    if !service.ends_with(".googleapis.com") {
        return None;
    }
    match operation {
        "setiampolicy" if GOOGLE_AI.contains(&service) && call.says(&["\"allusers\"", "\"allauthenticatedusers\""]) => {
            hit(&EXPOSED)
        }
        "deletetemplate" if service == "modelarmor.googleapis.com" => hit(&GUARDRAIL),
        "updatefloorsetting" if call.says(&["\"enablefloorsettingenforcement\":false"]) => hit(&GUARDRAIL),
        "deletesink" if service == "logging.googleapis.com" => hit(&LOGGING),
        "createexclusion" | "updatesink" if call.says(&["aiplatform", "generativelanguage", "modelarmor"]) => {
            hit(&LOGGING)
        }
        "createkey" if call.says(&["generativelanguage", "aiplatform"]) => hit(&KEY_MADE),
        "exportmodel" => hit(&EXPORTED),
        "createworkloadidentitypoolprovider" | "updateworkloadidentitypoolprovider" => hit(&TRUST),
        _ => None,
    }
}
