//! One call, as a CloudTrail row tells it.

use std::cell::OnceCell;

use sentrail_plugin::Search;
use sentrail_plugin::json::{self, Value};

/// A row's cells.
pub struct Call<'a> {
    /// Name of the operation without the version that some services append.
    pub operation: &'a str,
    pub service: &'a str,
    pub failed: bool,
    pub code: &'a str,
    pub actor: &'a str,
    pub actor_type: &'a str,
    pub account: &'a str,
    pub address: &'a str,
    pub mfa: Option<bool>,
    /// The user that the call is about.
    pub target: &'a str,
    pub request_text: &'a str,
    pub request: OnceCell<Value>,
}

/// `AddPermission20150331v2` is `AddPermission`.
pub fn unversioned(operation: &str) -> &str {
    match operation.find(|letter: char| letter.is_ascii_digit()) {
        Some(at) if operation[at..].bytes().take_while(u8::is_ascii_digit).count() >= 8 => &operation[..at],
        _ => operation,
    }
}

impl<'a> Call<'a> {
    /// The call with nothing in it but its parameters.
    pub fn new(request_text: &'a str) -> Self {
        Self {
            operation: "",
            service: "",
            failed: false,
            code: "",
            actor: "",
            actor_type: "",
            account: "",
            address: "",
            mfa: None,
            target: "",
            request_text,
            request: OnceCell::new(),
        }
    }

    /// The request's parameters; null when there are none or they cannot be read.
    pub fn request(&self) -> &Value {
        self.request
            .get_or_init(|| json::from_str(self.request_text).unwrap_or(Value::Null))
    }

    /// A text among the parameters, by its name on the top level.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.request().get(name).and_then(Value::as_str)
    }

    /// The parameters as they stand.
    pub fn request_text(&self) -> &str {
        self.request_text
    }

    /// Whether the call concerns a user that is not the caller.
    pub fn concerns_another(&self) -> bool {
        let own = self.actor.rsplit(['/', ':']).next().unwrap_or_default();
        let name = self.text("userName").unwrap_or(self.target);
        let name = name.rsplit('/').next().unwrap_or_default();
        !name.is_empty() && name != own
    }

    /// The session of an instance is named by the instance's id.
    pub fn is_instance(&self) -> bool {
        let session = self.actor.rsplit('/').next().unwrap_or_default();
        self.actor.holds(":assumed-role/")
            && session
                .strip_prefix("i-")
                .is_some_and(|id| id.len() >= 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}
