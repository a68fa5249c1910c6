//! How a sign-in ended, whatever the identity provider calls it.

use crate::Search;

/// Outcome of a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Somebody is in, or a step of it was passed.
    Accepted,
    /// The password, secret or account was wrong.
    WrongCredentials,
    /// The second factor was denied, failed or not answered.
    FactorRefused,
    /// It did not go through for another reason: a policy, a question in between, an error.
    Interrupted,
}

/// Codes with which Microsoft Entra refuses credentials: wrong password, locked, unknown, disabled or expired, wrong client secret.
const ENTRA_CREDENTIALS: [&str; 11] = [
    "50126", "50053", "50034", "50055", "50056", "50057", "50059", "50064", "50144", "7000215", "7000222",
];
/// Denied or unanswered second factor.
const ENTRA_FACTOR: [&str; 1] = ["500121"];

/// What is of class authentication and no sign-in by itself.
const OTHER: [&str; 9] = [
    "logout",
    "logged_out",
    "session.end",
    "session.clear",
    "oauth2",
    "evaluate_sign_on",
    "switchrole",
    "exitrole",
    "session.context",
];

impl Login {
    /// Reads an event of class `authentication` by its `api_operation`, `status` and `status_code`; `None` for one that is no sign-in.
    pub fn of(operation: &str, status: &str, code: &str) -> Option<Self> {
        let operation = operation.to_ascii_lowercase();
        let is = |word: &str| operation.holds(word);
        if OTHER.iter().any(|other| is(other)) {
            return None;
        }
        let factor = is("mfa") || is("okta_verify") || is("2sv") || is("two_factor");
        // Google says it with the operation's name and no status.
        let failed = status == "Failure" || is("loginfailure") || is("deny_push") || is("login.failed");
        if !failed {
            return (status == "Success").then_some(Self::Accepted);
        }
        let is_number = code.len() >= 4 && code.bytes().all(|letter| letter.is_ascii_digit());
        Some(match () {
            () if ENTRA_FACTOR.contains(&code) || factor => Self::FactorRefused,
            () if is_number && !ENTRA_CREDENTIALS.contains(&code) => Self::Interrupted,
            () => Self::WrongCredentials,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Login;

    #[test]
    fn outcomes_of_each_provider_are_understood() {
        for (operation, status, code, outcome) in [
            ("user.session.start", "Success", "SUCCESS", Some(Login::Accepted)),
            (
                "user.session.start",
                "Failure",
                "FAILURE",
                Some(Login::WrongCredentials),
            ),
            (
                "user.authentication.auth_via_mfa",
                "Failure",
                "FAILURE",
                Some(Login::FactorRefused),
            ),
            (
                "user.mfa.okta_verify.deny_push",
                "Success",
                "SUCCESS",
                Some(Login::FactorRefused),
            ),
            ("policy.evaluate_sign_on", "Failure", "DENY", None),
            ("app.oauth2.token.grant", "Failure", "FAILURE", None),
            ("Sign-in activity", "Success", "0", Some(Login::Accepted)),
            ("Sign-in activity", "Failure", "50126", Some(Login::WrongCredentials)),
            ("Sign-in activity", "Failure", "50074", Some(Login::Interrupted)),
            ("Sign-in activity", "Failure", "500121", Some(Login::FactorRefused)),
            (
                "google.login.LoginService.loginFailure",
                "Success",
                "",
                Some(Login::WrongCredentials),
            ),
            (
                "google.login.LoginService.loginSuccess",
                "Success",
                "",
                Some(Login::Accepted),
            ),
            ("google.login.LoginService.logout", "Success", "", None),
            ("ConsoleLogin", "Failure", "Failure", Some(Login::WrongCredentials)),
        ] {
            assert_eq!(Login::of(operation, status, code), outcome, "{operation} {code}");
        }
    }
}
