//! Whom a token is for, whether its checks held, and how it was come by.

use sentrail_plugin::{Difference, Member, Members, Search};

use crate::scope::clipped;

/// Whose audience a call goes to.
const SERVICES: [&str; 5] = [
    "resource_server",
    "target_audience",
    "requested_resource",
    "server_url",
    "presented_to",
];
/// Who makes a call.
const CALLERS: [&str; 7] = [
    "user_id",
    "requester",
    "requesting_user",
    "caller",
    "acting_user",
    "actor",
    "session_user",
];
/// Checks of an authorization.
const CHECKS: [&str; 20] = [
    "signature",
    "audience",
    "issuer",
    "scope",
    "state",
    "nonce",
    "consent",
    "pkce",
    "pop",
    "binding",
    "csrf",
    "origin",
    "token",
    "mfa",
    "dpop",
    "redirect",
    "approval",
    "confirmation",
    "session",
    "authenticated",
];
const CHECKED: [&str; 12] = [
    "valid",
    "validation",
    "validated",
    "verified",
    "verification",
    "match",
    "matche",
    "matched",
    "check",
    "present",
    "enforced",
    "authenticated",
];
const FAILS: [&str; 12] = [
    "false",
    "failed",
    "fail",
    "invalid",
    "mismatch",
    "missing",
    "skipped",
    "bypassed",
    "none",
    "unverified",
    "not_validated",
    "disabled",
];
/// Flags that say of an authorization that it was not as it should be.
const FLAGS: [&str; 11] = [
    "mismatch",
    "bypass",
    "bypassed",
    "bypasse",
    "spoofed",
    "tampered",
    "forged",
    "stolen",
    "downgrade",
    "downgraded",
    "impersonated",
];
/// Flags of what is good for one use. Connections, sessions and pools are used again by design.
const AGAIN: [&str; 4] = ["replay", "replayed", "reused", "reuse"];
/// Flags that are about an authorization whatever stands beside them.
const ALONE: [&str; 2] = ["unauthorized", "impersonation"];
/// What is good for one use or one holder.
const HELD: [&str; 10] = [
    "token",
    "code",
    "nonce",
    "jti",
    "jwt",
    "assertion",
    "credential",
    "ticket",
    "state",
    "signature",
];
/// What else an authorization is made of.
const OF_AUTHORIZATION: [&str; 14] = [
    "auth",
    "oauth",
    "authorization",
    "authentication",
    "audience",
    "issuer",
    "scope",
    "consent",
    "pkce",
    "mfa",
    "identity",
    "permission",
    "approval",
    "redirect",
];

/// The host of an address; of anything else nothing.
fn host(text: &str) -> Option<String> {
    let text = text.trim();
    let rest = &text[text.place("://")? + 3..];
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split(':').next().unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// The part of a host that one party holds, as far as can be told without a list of suffixes: its last two labels.
fn party(host: &str) -> &str {
    let mut dots = host.rmatch_indices('.');
    match (dots.next(), dots.next()) {
        (Some(_), Some((at, _))) => &host[at + 1..],
        _ => host,
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "[")
}

/// Whom the token is for, and who or where it is used.
pub fn mismatch(members: &Members) -> Option<String> {
    let subject = members.get(&["token_subject", "token_owner", "token_user", "token_sub"]);
    let caller = members.get(&CALLERS);
    let delegated = members
        .iter()
        .any(|one| one.has(&["delegated", "delegation", "behalf", "act"]));
    if let (Some(subject), Some(caller)) = (subject, caller)
        // A name and an address may be one person's.
        && subject.contains('@') == caller.contains('@')
        && subject != caller
        && !delegated
    {
        return Some(format!(
            "a token of {} was used by {}",
            clipped(subject),
            clipped(caller)
        ));
    }
    let audience = members.get(&["token_audience", "audience", "token_aud", "aud"]);
    // However they call it: the service, server or resource that is asked now.
    let asked = |one: &&Member| {
        one.is(&["service", "server", "resource"])
            && one.has(&["current", "target", "destination", "requested", "called", "receiving"])
    };
    let service = members
        .get(&SERVICES)
        .or_else(|| members.iter().find(asked).map(|one| one.text.as_str()));
    if let (Some(audience), Some(service)) = (audience, service) {
        let same = match (host(audience), host(service)) {
            (Some(audience), Some(service)) => audience == service,
            _ => audience == service,
        };
        if !same {
            return Some(format!(
                "a token for {} was used at {}",
                clipped(audience),
                clipped(service)
            ));
        }
    }
    let of = [
        "redirect",
        "issuer",
        "iss",
        "audience",
        "aud",
        "subject",
        "client",
        "user",
        "ip",
        "server",
        "agent",
        "account",
        "host",
        "origin",
        "fingerprint",
        "key",
    ];
    let mut differences = members.differences();
    let authorises = members.iter().any(|one| {
        one.has(&[
            "token",
            "issuer",
            "iss",
            "oauth",
            "code",
            "authorization",
            "jwk",
            "client",
            "credential",
            "session",
        ])
    });
    let earlier = |one: &Difference| one.declared.has(&["previous", "before", "initial", "known"]);
    let difference = differences
        .find(|one| one.is_of(&of) && !earlier(one))
        .filter(|_| authorises && !members.is_authorised())?;
    Some(format!(
        "`{}` is not `{}`",
        difference.actual.name, difference.declared.name
    ))
}

/// Whether the record says that the call did not go on.
fn is_refused(members: &Members) -> bool {
    let told = members.get(&["result", "status", "outcome", "validation_result", "decision", "access"]);
    let refused = [
        "denied",
        "deny",
        "blocked",
        "refused",
        "rejected",
        "error",
        "failed",
        "failure",
        "unauthorized",
    ];
    told.is_some_and(|told| refused.contains(&told.to_ascii_lowercase().as_str()))
}

/// A check that did not hold, where the call was not refused for it.
pub fn failed(members: &Members) -> Option<String> {
    if members.is_authorised() || is_refused(members) {
        return None;
    }
    let failed = |one: &&Member| {
        let value = one.text.trim().to_ascii_lowercase();
        // That a state was left out is told with the flow.
        let is_check =
            one.has(&CHECKS) && one.has(&CHECKED) && FAILS.contains(&value.as_str()) && !one.is(&["state_present"]);
        let is_flagged = one.has(&ALONE)
            || (one.has(&AGAIN) && one.has(&HELD))
            || (one.has(&FLAGS) && (one.has(&HELD) || one.has(&OF_AUTHORIZATION)) && !one.has(&["status", "error"]));
        let is_flag = is_flagged && matches!(value.as_str(), "true" | "yes" | "detected" | "success");
        is_check || is_flag
    };
    let reused = |one: &&Member| {
        let once = one.has(&["code", "nonce", "jti", "ticket"])
            && one.has(&["use", "used", "redemption", "exchange", "redeemed"]);
        once && one.number().is_some_and(|times| (2.0..1e6).contains(&times))
    };
    let member = members.iter().find(|one| failed(one) || reused(one))?;
    Some(format!("`{}` is {}", member.name, clipped(&member.text)))
}

/// A server that asks nobody who he is, and can be reached from elsewhere.
pub fn open(members: &Members) -> Option<String> {
    let no = |one: &&Member| {
        matches!(
            &*one.text.trim().to_ascii_lowercase(),
            "false" | "none" | "disabled" | "no" | "off"
        )
    };
    let asks = |one: &&Member| {
        one.is(&[
            "auth_required",
            "authentication_required",
            "requires_auth",
            "auth_enabled",
            "authentication",
            "auth",
            "authenticated",
            "auth_method",
        ])
    };
    let open = members.iter().filter(asks).find(no)?;
    let reached = members.iter().any(|one| {
        let text = one.text.trim();
        let public = text
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|ip| !ip.is_private() && !ip.is_loopback() && !ip.is_link_local());
        public
            || (one.has(&["exposed", "public", "internet"]) && text == "true")
            || text.holds("/debug")
            || text.holds("/admin")
    });
    (reached && !is_refused(members)).then(|| format!("`{}` is {}", open.name, clipped(&open.text)))
}

/// One token in several places, as the record counts or lists them.
pub fn spread(members: &Members) -> Option<String> {
    let of_token = members
        .iter()
        .any(|one| one.has(&["token", "jti", "credential", "session"]));
    let places = [
        "ip", "country", "countrie", "location", "device", "address", "addresse", "network", "region",
    ];
    let counted = |one: &&Member| {
        one.has(&places)
            && one.has(&["unique", "distinct", "different"])
            && one.number().is_some_and(|number| number >= 3.0)
    };
    let one = members.iter().find(counted).filter(|_| of_token)?;
    Some(format!("`{}` of a token is {}", one.name, clipped(&one.text)))
}

/// Ways in which tokens are got that others can listen to.
pub fn weak(members: &Members) -> Option<String> {
    let is = |names: &[&str], values: &[&str]| {
        members
            .iter()
            .any(|one| one.is(names) && values.contains(&one.text.trim().to_ascii_lowercase().as_str()))
    };
    if is(&["alg", "algorithm", "token_alg", "signing_algorithm"], &["none"]) {
        return Some("the token is not signed".to_owned());
    }
    if is(&["code_challenge_method", "pkce_method"], &["plain", "none"]) {
        return Some("the proof key is sent in clear".to_owned());
    }
    if is(&["response_type"], &["token", "id_token token"]) {
        return Some("the token is put into the address".to_owned());
    }
    if is(&["grant_type", "flow", "oauth_flow"], &["password", "implicit"]) {
        return Some("the flow hands over passwords or tokens".to_owned());
    }
    if is(
        &[
            "pkce",
            "pkce_used",
            "pkce_enabled",
            "uses_pkce",
            "state_present",
            "tls",
            "tls_enabled",
        ],
        &["false", "none", "disabled"],
    ) {
        return Some("the flow leaves out its proof key, its state or its encryption".to_owned());
    }
    let versions = ["tls_version", "ssl_version", "oauth_version"];
    if is(&versions, &["1.0", "1.1"])
        || is(
            &["protocol_version", "tls_version", "ssl_version", "oauth_version"],
            &[
                "oauth1",
                "oauth 1.0",
                "tls1.0",
                "tlsv1",
                "tlsv1.0",
                "tlsv1.1",
                "ssl3",
                "sslv3",
            ],
        )
    {
        return Some("an old version of the protocol was taken".to_owned());
    }
    let plain = members.iter().find(|one| {
        one.is(&[
            "token_endpoint",
            "authorization_endpoint",
            "jwks_uri",
            "issuer",
            "issuer_url",
            "iss",
            "discovery_url",
        ]) && one.text.starts_with("http://")
            && host(&one.text).is_some_and(|host| !is_loopback(&host))
    })?;
    Some(format!("`{}` is not encrypted", plain.name))
}

/// Addresses that codes and tokens are sent to, or keys taken from.
pub fn redirect(members: &Members) -> Option<String> {
    let issuer = members
        .get(&["issuer", "issuer_url", "iss", "authorization_server", "expected_issuer"])
        .and_then(host);
    let endpoints = members.iter().filter(|one| {
        one.is(&[
            "token_endpoint",
            "authorization_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "jku",
        ])
    });
    let hosts: Vec<String> = endpoints.filter_map(|one| host(&one.text)).chain(issuer).collect();
    if let [first, rest @ ..] = hosts.as_slice()
        && let Some(other) = rest.iter().find(|other| party(other) != party(first))
    {
        return Some(format!("one authorization names {first} and {other}"));
    }
    let uris: Vec<&Member> = members
        .iter()
        .filter(|one| one.has(&["redirect", "callback"]) && one.has(&["uri", "url", "redirect"]))
        .collect();
    for uri in &uris {
        let text = uri.text.trim();
        let Some(host) = host(text) else {
            if text.starts_with("javascript:") || text.starts_with("data:") {
                return Some(format!("`{}` is a script", uri.name));
            }
            continue;
        };
        let is_number = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if !is_loopback(&host) && (text.starts_with("http://") || is_number || host.contains('*')) {
            return Some(format!("codes go to {host} unprotected"));
        }
        if text.contains('@') || text.matches("://").count() > 1 || text.holds("%2F%2F") {
            return Some(format!("`{}` leads on to another address", uri.name));
        }
    }
    let client = members.get(&[
        "client_uri",
        "client_url",
        "client_domain",
        "registered_domain",
        "client_host",
        "client_id",
    ]);
    let client =
        client.and_then(|client| host(client).or_else(|| client.contains('.').then(|| client.to_ascii_lowercase())))?;
    let foreign = uris
        .iter()
        .filter_map(|uri| host(&uri.text))
        .find(|host| !is_loopback(host) && party(host) != party(&client))?;
    Some(format!("codes for {client} go to {foreign}"))
}

/// Seconds that a token of an agent may live: a refresh token's usual month.
const LIFE_MAX: f64 = 31.0 * 86_400.0;

/// Whether the record is of something that was done, and not of the end itself or of a question about it.
fn is_use(members: &Members) -> bool {
    let does = |one: &&Member| {
        one.is(&[
            "event",
            "event_type",
            "operation",
            "action",
            "method",
            "tool_name",
            "api_endpoint",
            "endpoint",
        ])
    };
    let ends = |one: &Member| {
        one.text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| ENDS.contains(&word.to_ascii_lowercase().as_str()))
    };
    let used = |one: &Member| {
        one.has(&[
            "used",
            "usage",
            "use",
            "call",
            "request",
            "access",
            "accessed",
            "resource",
            "invocation",
        ]) || one.is(&["result", "outcome"])
    };
    let is_end = members.iter().filter(does).any(ends);
    !is_end && (members.iter().any(|one| does(&one)) || members.iter().any(used))
}

/// Words of events by which sessions and tokens end, or are asked about.
const ENDS: [&str; 16] = [
    "revoke",
    "revocation",
    "logout",
    "signout",
    "terminate",
    "termination",
    "end",
    "close",
    "disconnect",
    "deactivate",
    "deactivation",
    "offboard",
    "offboarding",
    "expire",
    "cleanup",
    "introspect",
];

/// Use after its end, or no end.
pub fn stale(members: &Members) -> Option<String> {
    let of_token = members
        .iter()
        .any(|one| one.has(&["token", "jti", "jwt", "bearer", "credential"]));
    let ended = members.iter().find(|one| {
        let value = one.text.trim().to_ascii_lowercase();
        let is_of = one.has(&["session", "account", "consent", "token", "authorization", "user"])
            || (of_token && one.is(&["active", "revoked", "expired"]));
        let is_state = one.has(&[
            "status",
            "state",
            "active",
            "revoked",
            "expired",
            "terminated",
            "revocation",
        ]);
        let ended = match value.as_str() {
            "revoked" | "expired" | "terminated" | "logged_out" | "logout" | "disabled" | "inactive"
            | "deactivated" | "offboarded" | "suspended" => true,
            "true" => one.has(&["revoked", "expired", "terminated"]),
            "false" => one.has(&["active"]),
            _ => false,
        };
        of_token && is_of && is_state && ended
    });
    if let Some(ended) = ended {
        return (is_use(members) && !is_refused(members))
            .then(|| format!("`{}` is {}", ended.name, clipped(&ended.text)));
    }
    let long = members.iter().find(|one| {
        let is_of = one.has(&["token", "refresh", "expires", "expiry", "ttl", "lifetime"]);
        let unit = if one.has(&["day"]) {
            86_400.0
        } else if one.has(&["hour"]) {
            3_600.0
        } else if one.has(&["second", "expires", "ttl", "lifetime"]) {
            1.0
        } else {
            return false;
        };
        let is_span = one.has(&["in", "lifetime", "ttl", "age", "expires", "expiry", "validity"]);
        is_of
            && is_span
            && one
                .number()
                .is_some_and(|number| number * unit > LIFE_MAX && number < 1e9)
    })?;
    Some(format!("`{}` is {}", long.name, clipped(&long.text)))
}
