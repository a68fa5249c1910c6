//! Changes to accounts, factors, rights and trust, whatever the provider calls them.

use sentrail_plugin::{Rule, Search, Severity};

use crate::rules::*;

/// A change that deserves a look.
pub struct Change {
    pub rule: &'static Rule,
    pub severity: Severity,
    pub what: String,
}

/// Operations of Okta, Entra, GitHub and Google (without `google.….Service.`), in lower case, each with its rule. Updates of policies are
/// daily work and weigh less than removals.
const OPERATIONS: &[(&str, &Rule, Severity)] = {
    use Severity::{High, Low, Medium};
    &[
        ("user.mfa.factor.deactivate", &FACTOR_REMOVED, Low),
        ("user.mfa.factor.reset_all", &FACTOR_REMOVED, Medium),
        ("user.mfa.factor.suspend", &FACTOR_REMOVED, Medium),
        ("user deleted security info", &FACTOR_REMOVED, Low),
        ("admin deleted security info", &FACTOR_REMOVED, Medium),
        ("disable strong authentication", &FACTOR_REMOVED, Medium),
        ("two_factor_authentication.disabled", &FACTOR_REMOVED, Medium),
        ("2svdisable", &FACTOR_REMOVED, Medium),
        ("policy.rule.update", &POLICY, Low),
        ("policy.rule.delete", &POLICY, Medium),
        ("policy.rule.deactivate", &POLICY, Medium),
        ("policy.lifecycle.update", &POLICY, Low),
        ("policy.lifecycle.delete", &POLICY, Medium),
        ("policy.lifecycle.deactivate", &POLICY, Medium),
        ("application.policy.sign_on.update", &POLICY, Low),
        ("application.policy.sign_on.rule.delete", &POLICY, Medium),
        ("system.mfa.factor.deactivate", &POLICY, Medium),
        ("zone.delete", &POLICY, Low),
        ("zone.deactivate", &POLICY, Low),
        ("update conditional access policy", &POLICY, Low),
        ("delete conditional access policy", &POLICY, Medium),
        ("authentication methods policy update", &POLICY, Low),
        ("org.disable_two_factor_requirement", &POLICY, Medium),
        ("business.disable_two_factor_requirement", &POLICY, Medium),
        ("org.disable_saml", &POLICY, Medium),
        ("business.disable_saml", &POLICY, Medium),
        ("org.disable_oauth_app_restrictions", &POLICY, Medium),
        ("ip_allow_list.disable", &POLICY, Medium),
        ("user.account.privilege.grant", &ADMIN, Medium),
        ("group.privilege.grant", &ADMIN, Medium),
        ("business.add_admin", &ADMIN, Medium),
        ("assignrole", &ADMIN, Medium),
        ("grantadminprivilege", &ADMIN, Medium),
        ("grantdelegatedadminprivileges", &ADMIN, Medium),
        ("add service principal credentials", &CREDENTIAL, Medium),
        (
            "update application \u{2013} certificates and secrets management",
            &CREDENTIAL,
            Medium,
        ),
        ("system.api_token.create", &CREDENTIAL, Medium),
        ("personal_access_token.access_granted", &CREDENTIAL, Low),
        ("authorizeapiclientaccess", &DELEGATION, High),
        ("org.oauth_app_access_approved", &CONSENT, Low),
        ("set federation settings on domain", &FEDERATION, High),
        ("set domain authentication", &FEDERATION, High),
        ("system.idp.lifecycle.create", &FEDERATION, High),
        ("system.idp.lifecycle.update", &FEDERATION, Medium),
        ("user.account.report_suspicious_activity_by_enduser", &RISKY, High),
        ("security.threat.detected", &RISKY, Medium),
        ("suspiciouslogin", &RISKY, Medium),
        ("suspiciousprogrammaticlogin", &RISKY, Medium),
    ]
};

/// Roles of Entra that change what others may do.
const ADMIN_ROLES: [&str; 12] = [
    "global administrator",
    "company administrator",
    "privileged role administrator",
    "privileged authentication administrator",
    "authentication administrator",
    "application administrator",
    "security administrator",
    "user administrator",
    "conditional access administrator",
    "hybrid identity administrator",
    "exchange administrator",
    "ai administrator",
];

/// Scopes that reach beyond the person who consents, or into all that is theirs.
const SCOPES: [&str; 16] = [
    "mail.read",
    "mail.send",
    "mailboxsettings.readwrite",
    "files.read.all",
    "files.readwrite",
    "sites.read",
    "sites.fullcontrol",
    "full_access_as_app",
    "user_impersonation",
    "directory.readwrite",
    "directory.accessasuser",
    "rolemanagement.readwrite",
    "approleassignment.readwrite",
    "application.readwrite",
    "contacts.read",
    "user.readwrite.all",
];

/// Reads a change from the operation, and where that does not say enough, from the parameters.
pub fn of(operation: &str, data: &str) -> Option<Change> {
    let full = operation.to_ascii_lowercase();
    // google.login.LoginService.2svDisable
    let operation = full
        .strip_prefix("google.")
        .and_then(|rest| rest.rsplit('.').next())
        .unwrap_or(&full);
    if let Some((_, rule, severity)) = OPERATIONS.iter().find(|(known, ..)| *known == operation) {
        return Some(Change {
            rule,
            severity: *severity,
            what: full,
        });
    }
    let (rule, words): (_, &[&str]) = match operation {
        _ if operation.starts_with("add member to role") || operation.starts_with("add eligible member to role") => {
            (&ADMIN, &ADMIN_ROLES)
        }
        "consent to application"
        | "add delegated permission grant"
        | "add oauth2permissiongrant"
        | "add app role assignment to service principal"
        | "app.oauth2.as.consent.grant"
        | "app.oauth2.consent.grant" => (&CONSENT, &SCOPES),
        _ => return None,
    };
    let data = data.to_ascii_lowercase();
    let word = words.iter().find(|word| data.holds(word))?;
    Some(Change {
        rule,
        severity: rule.severity,
        what: format!("{full}: {word}"),
    })
}

/// Whether the operation enrols a second factor.
pub fn enrols(operation: &str) -> bool {
    const ENROLMENTS: [&str; 7] = [
        "user.mfa.factor.activate",
        "user.mfa.factor.update",
        "user registered security info",
        "user registered all required security info",
        "user changed default security info",
        "two_factor_authentication.enabled",
        "two_factor_authentication.recovery_codes_downloaded",
    ];
    ENROLMENTS.iter().any(|known| known.eq_ignore_ascii_case(operation)) || operation.ends_with(".2svEnroll")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_each_provider_are_understood() {
        let rule = |operation, data| of(operation, data).map(|change| change.rule.id);
        assert_eq!(
            rule("Add member to role", r#"[{"displayName":"Global Administrator"}]"#),
            Some(ADMIN.id)
        );
        assert_eq!(
            rule("Add member to role", r#"[{"displayName":"Reports Reader"}]"#),
            None
        );
        assert_eq!(
            rule("Consent to application", r#"{"scope":"Mail.ReadWrite offline_access"}"#),
            Some(CONSENT.id)
        );
        assert_eq!(rule("Consent to application", r#"{"scope":"openid profile"}"#), None);
        assert_eq!(
            rule("google.login.LoginService.2svDisable", ""),
            Some(FACTOR_REMOVED.id)
        );
        assert_eq!(
            rule("google.admin.AdminService.authorizeApiClientAccess", ""),
            Some(DELEGATION.id)
        );
        assert_eq!(rule("org.disable_saml", ""), Some(POLICY.id));
        assert_eq!(rule("user.session.start", ""), None);
    }
}
