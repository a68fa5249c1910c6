//! Rules that one call decides.

use sentrail_plugin::json::Value;
use sentrail_plugin::{Rule, Search, Severity};

use crate::call::Call;
use crate::policy;
use crate::rules::*;

/// Objects that live no longer than this are gone before anyone looks for them.
const SHORT_EXPIRY_DAYS: u64 = 7;
/// Ports that are open to the world on purpose.
const PUBLIC_PORTS: [i64; 2] = [80, 443];
/// Instances asked for at once beyond which it is no ordinary start.
const MANY_INSTANCES: i64 = 10;
/// Families of instances with accelerators.
const ACCELERATED: [&str; 16] = [
    "p2", "p3", "p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6", "g3", "g4dn", "g5", "g6", "inf2", "trn1", "trn2",
];

/// A rule that the call breaks and what to say about it.
pub struct Hit {
    pub rule: &'static Rule,
    pub severity: Severity,
    pub message: String,
}

/// The rule that the call breaks, if any. A failed attempt weighs one step less: it shows intent, not effect.
pub fn judge(call: &Call) -> Option<Hit> {
    let (rule, what) = broken(call)?;
    let severity = if call.failed {
        rule.severity.lower()
    } else {
        rule.severity
    };
    let attempted = if call.failed {
        format!(" (failed: {})", call.code)
    } else {
        String::new()
    };
    Some(Hit {
        rule,
        severity,
        message: format!("{} by {}: {what}{attempted}", call.operation, call.actor),
    })
}

fn broken(call: &Call) -> Option<(&'static Rule, String)> {
    let plain = |rule: &'static Rule| Some((rule, rule.title.to_owned()));
    let with = |rule: &'static Rule, what: String| Some((rule, what));
    match call.operation {
        "CreateAccessKey" if call.concerns_another() => with(&ACCESS_KEY, format!("for {}", user(call))),
        "CreateLoginProfile" | "UpdateLoginProfile" if call.concerns_another() => {
            with(&LOGIN_PROFILE, format!("for {}", user(call)))
        }
        "AttachUserPolicy" | "AttachRolePolicy" | "AttachGroupPolicy" => {
            let arn = call.text("policyArn")?;
            policy::is_powerful(arn).then(|| (&PRIVILEGE, arn.to_owned()))
        }
        "PutUserPolicy" | "PutRolePolicy" | "PutGroupPolicy" | "CreatePolicy" | "CreatePolicyVersion" => {
            let document = policy::document(call.request().get("policyDocument")?)?;
            policy::allows_everything(&document).then(|| (&PRIVILEGE, "the policy allows everything".to_owned()))
        }
        "AddUserToGroup" => {
            let group = call.text("groupName")?;
            group
                .to_ascii_lowercase()
                .contains("admin")
                .then(|| (&PRIVILEGE, format!("{} joins {group}", user(call))))
        }
        "UpdateAssumeRolePolicy" | "CreateRole" => {
            let request = call.request();
            let document = policy::document(
                request
                    .get("policyDocument")
                    .or_else(|| request.get("assumeRolePolicyDocument"))?,
            )?;
            policy::outsider(&document, call.account).map(|who| (&TRUST, format!("trusts {who}")))
        }
        "CreateTrustAnchor" | "CreateSAMLProvider" | "UpdateSAMLProvider" | "CreateOpenIDConnectProvider" => {
            plain(&FEDERATION)
        }
        "CreateUser" if call.service == "iam.amazonaws.com" => with(&USER_CREATED, user(call).to_owned()),
        "DeactivateMFADevice" | "DeleteVirtualMFADevice" => plain(&MFA_REMOVED),
        "StopLogging"
        | "DeleteTrail"
        | "DeleteFlowLogs"
        | "DeleteEventDataStore"
        | "StopEventDataStoreIngestion"
        | "DeleteResolverQueryLogConfig"
        | "DisassociateResolverQueryLogConfig"
        | "DeleteQueryLoggingConfig" => plain(&LOGGING),
        "DeleteLogGroup" | "DeleteLogStream" if call.request_text().to_ascii_lowercase().holds("trail") => {
            plain(&LOGGING)
        }
        "UpdateTrail" => reduces_trail(call).then(|| (&LOGGING, "the trail records less".to_owned())),
        "PutEventSelectors" => reduces_selectors(call).then(|| (&LOGGING, "fewer events are recorded".to_owned())),
        "DeleteDetector"
        | "DisassociateFromMasterAccount"
        | "DisassociateFromAdministratorAccount"
        | "StopMonitoringMembers"
        | "DisableSecurityHub"
        | "StopConfigurationRecorder"
        | "DeleteConfigurationRecorder"
        | "DeleteDeliveryChannel"
        | "DisableMacie"
        | "DeleteWebACL" => plain(&DETECTION),
        "UpdateDetector" => (call.request().get("enable") == Some(&Value::Bool(false)))
            .then(|| (&DETECTION, DETECTION.title.to_owned())),
        "PutBucketLifecycle" | "PutBucketLifecycleConfiguration" => {
            let days = shortest_expiry(call.request())?;
            (days <= SHORT_EXPIRY_DAYS).then(|| (&EXPIRY, format!("objects expire after {days} days")))
        }
        "LeaveOrganization" => plain(&ORGANIZATION),
        "ConsoleLogin" if !call.failed && call.mfa == Some(false) && matches!(call.actor_type, "IAMUser" | "Root") => {
            plain(&NO_MFA)
        }
        "GetCallerIdentity" if call.is_instance() => plain(&INSTANCE_PROBED),
        "ModifySnapshotAttribute"
        | "ModifyImageAttribute"
        | "ModifyDBSnapshotAttribute"
        | "ModifyDBClusterSnapshotAttribute" => shared_with(call).map(|who| (&SHARED, format!("shared with {who}"))),
        "PutBucketPolicy" => {
            let request = call.request();
            let document = policy::document(request.get("bucketPolicy").or_else(|| request.get("policy"))?)?;
            policy::outsider(&document, call.account).map(|who| (&BUCKET, format!("open to {who}")))
        }
        "PutBucketAcl" | "PutObjectAcl" => {
            let text = call.request_text();
            let open = text.holds("/AllUsers") || text.holds("/AuthenticatedUsers") || text.holds("\"public-read");
            open.then(|| (&BUCKET, "open to everyone".to_owned()))
        }
        "DeleteBucketPublicAccessBlock" | "DeleteAccountPublicAccessBlock" => plain(&BUCKET),
        "PutBucketReplication" => plain(&REPLICATION),
        "AuthorizeSecurityGroupIngress" => opened_port(call.request()).map(|port| (&FIREWALL, port)),
        "AddPermission" if call.service.starts_with("lambda") => {
            let who = call.text("principal")?;
            let service = who.ends_with(".amazonaws.com");
            let open = policy::is_outside(who, call.account) && !service;
            open.then(|| (&FUNCTION_OPENED, format!("open to {who}")))
        }
        "CreateFunctionUrlConfig" | "UpdateFunctionUrlConfig" => {
            (call.text("authType") == Some("NONE")).then(|| (&FUNCTION_OPENED, "open to everyone".to_owned()))
        }
        "UpdateFunctionCode" => plain(&FUNCTION_CHANGED),
        "UpdateFunctionConfiguration" if call.request().get("layers").is_some() => {
            with(&FUNCTION_CHANGED, "a layer was added".into())
        }
        "EnableSerialConsoleAccess" => plain(&REMOTE_LOGIN),
        // Jobs of managed training take accelerators by nature; how many are usual is for the detector of AI services to know.
        "RunInstances" | "RequestSpotInstances" | "CreateFleet" | "CreateNotebookInstance" => {
            unusual_instances(call).map(|what| (&INSTANCES, what))
        }
        "PutFoundationModelEntitlement" | "CreateFoundationModelAgreement" | "PutUseCaseForModelAccess" => {
            plain(&MODEL_ACCESS)
        }
        "DeleteModelInvocationLoggingConfiguration" | "DeleteGuardrail" => plain(&MODEL_LOGGING),
        "ScheduleKeyDeletion" | "DisableKey" if call.service.starts_with("kms") => plain(&KEYS_DESTROYED),
        _ => None,
    }
}

fn user<'a>(call: &'a Call) -> &'a str {
    call.text("userName").unwrap_or(call.target)
}

fn reduces_trail(call: &Call) -> bool {
    let off = |name: &str| call.request().get(name) == Some(&Value::Bool(false));
    [
        "includeGlobalServiceEvents",
        "isMultiRegionTrail",
        "enableLogFileValidation",
        "isOrganizationTrail",
    ]
    .iter()
    .any(|name| off(name))
        || call.text("s3BucketName").is_some()
}

/// Selectors that leave management events or one direction out. Advanced selectors are read as reducing when none of them
/// is for management events.
fn reduces_selectors(call: &Call) -> bool {
    let list = |name: &str| call.request().get(name).and_then(Value::as_array);
    let simple = list("eventSelectors").is_some_and(|selectors| {
        !selectors.iter().any(|selector| {
            let all = selector
                .get("readWriteType")
                .and_then(Value::as_str)
                .is_none_or(|kind| kind == "All");
            all && selector.get("includeManagementEvents") != Some(&Value::Bool(false))
        })
    });
    let advanced = list("advancedEventSelectors").is_some_and(|selectors| {
        !selectors
            .iter()
            .any(|selector| selector.to_string().contains("\"Management\""))
    });
    simple || advanced
}

/// The least number of days after which an enabled rule deletes objects.
fn shortest_expiry(request: &Value) -> Option<u64> {
    let configuration = request
        .get("LifecycleConfiguration")
        .or_else(|| request.get("lifecycleConfiguration"))?;
    let rules = configuration.get("Rule").or_else(|| configuration.get("rules"))?;
    let rules = match rules {
        Value::Array(rules) => rules.iter().collect(),
        rule => vec![rule],
    };
    rules
        .into_iter()
        .filter(|rule| rule.get("Status").and_then(Value::as_str) != Some("Disabled"))
        .filter_map(|rule| number(rule.get("Expiration")?.get("Days")?))
        .min()
}

fn number(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

fn shared_with(call: &Call) -> Option<String> {
    let request = call.request();
    let outside = |who: &str| who == "all" || policy::is_outside(who, call.account);
    let items = |name: &str| {
        request
            .get(name)
            .and_then(|change| change.get("add")?.get("items")?.as_array())
    };
    let granted = ["createVolumePermission", "launchPermission"]
        .into_iter()
        .filter_map(items)
        .flatten();
    let named = granted.filter_map(|item| item.get("userId").or_else(|| item.get("group"))?.as_str());
    named
        .chain(policy::texts(request.get("valuesToAdd")))
        .find(|who| outside(who))
        .map(str::to_owned)
}

fn opened_port(request: &Value) -> Option<String> {
    let permissions = request
        .get("ipPermissions")
        .and_then(|all| all.get("items"))
        .and_then(Value::as_array);
    std::iter::once(request)
        .chain(permissions.into_iter().flatten())
        .find_map(|permission| {
            let text = permission.to_string();
            let world = text.holds("/0\"");
            // The outer object holds the inner ones: it counts only for the addresses that it names itself.
            let own = permission.get("ipPermissions").is_none() || permission.get("cidrIp").is_some();
            let port = |name: &str| permission.get(name).and_then(Value::as_i64);
            let (from, to) = (port("fromPort"), port("toPort"));
            let ordinary = from == to && from.is_some_and(|port| PUBLIC_PORTS.contains(&port));
            (world && own && !ordinary).then(|| match (from, to) {
                (Some(from), Some(to)) if from == to => format!("port {from} is open to the world"),
                (Some(from), Some(to)) => format!("ports {from} to {to} are open to the world"),
                _ => "every port is open to the world".to_owned(),
            })
        })
}

fn unusual_instances(call: &Call) -> Option<String> {
    let request = call.request();
    let kind = call.text("instanceType").unwrap_or_default();
    let family = kind.trim_start_matches("ml.").split('.').next().unwrap_or_default();
    let sets = request
        .get("instancesSet")
        .and_then(|set| set.get("items"))
        .and_then(Value::as_array);
    let count: i64 = sets
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("maxCount")?.as_i64())
        .sum();
    (ACCELERATED.contains(&family) || count >= MANY_INSTANCES).then(|| format!("{} × {kind}", count.max(1)))
}
